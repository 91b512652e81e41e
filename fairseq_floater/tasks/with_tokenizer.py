"""Shared parts of tasks that cut texts into pieces on loading, with their model's tokenizer."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Type

from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask

from fairseq_floater.data import Layout, PieceTokenizer, read_pieces
from fairseq_floater.encoders.flags import check_values, flag


@dataclass
class TokenizerOptions(FairseqDataclass):
    """Options of these tasks."""

    double_separator: bool = flag(
        False, "put two separators between the texts of an input, as in RoBERTa; BERT has one"
    )


class TaskWithTokenizer(FairseqTask):
    """A task whose data is a folder with the model's dict.txt and tokenizer.json beside the texts.

    Raises:
        UserError: if an option is out of its range, or one of these files is missing or of another
            model than the other.
    """

    #: the dataclass of the options
    Options: Type[Any]

    #: the script that makes such a folder
    prepared_by: str

    def __init__(self, cfg: Any, dictionary: Dictionary):
        super().__init__(cfg)
        names = [declared.name for declared in fields(self.Options)]
        check_values(self.Options(**{name: getattr(cfg, name) for name in names}))
        self.dictionary = dictionary
        self.layout = Layout(dictionary, 2 if cfg.double_separator else 1)
        self.tokenizer = PieceTokenizer(Path(cfg.data) / "tokenizer.json")
        self.tokenizer.require_known(dictionary, Path(cfg.data) / "dict.txt")

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> "TaskWithTokenizer":
        fix = f"prepare {cfg.data} with {cls.prepared_by}"
        return cls(cfg, read_pieces(Path(cfg.data), fix))

    def max_positions(self) -> int:
        return int(self.cfg.max_positions)

    @property
    def source_dictionary(self) -> Dictionary:
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        return self.dictionary
