"""What an exported model takes along of the corpus it was trained on."""

import json
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

from fairseq.data import Dictionary

from fairseq_floater.errors import UserError, first_line
from fairseq_floater.models.floater_transformer import FloaterTransformerModel


class Corpus(NamedTuple):
    """Dictionaries, and how texts became words and subwords.

    Attributes:
        source, target: dictionaries.
        languages: codes of both.
        subword: ``sentencepiece``, ``subword_nmt`` or None.
        subword_model: file of the library of that name, if there is one.
        moses: whether texts were cut into words as Moses does.
        lowercase: whether they were lower-cased.
    """

    source: Dictionary
    target: Dictionary
    languages: Dict[str, str]
    subword: Optional[str]
    subword_model: Optional[Path]
    moses: bool
    lowercase: bool

    @classmethod
    def read(cls, data: Path, model: FloaterTransformerModel) -> "Corpus":
        """A folder with ``corpus.json``, ``bin`` and ``bpe.model``, as ``data-prep`` leaves it.

        Raises:
            UserError: if something is missing, or the dictionaries are not those of ``model``.
        """
        said = read_description(data)
        languages = {side: str(said[side]) for side in ("source", "target")}
        dictionaries = {}
        for side, stack in (("source", model.encoder), ("target", model.decoder)):
            path, words = data / f"bin/dict.{languages[side]}.txt", len(stack.embed_tokens.weight)
            if not path.is_file():
                raise UserError(
                    f"no dictionary at {path}: give with --data the corpus of the training"
                )
            dictionaries[side] = Dictionary.load(str(path))
            if len(dictionaries[side]) != words:
                raise UserError(
                    f"{path} has {len(dictionaries[side]):,} words, and the model {words:,}: give "
                    "with --data the corpus of the training"
                )
        subword, subword_model = said.get("subword"), None
        if subword is not None:
            subword_model = data / "bpe.model"
            if subword not in ("sentencepiece", "subword_nmt"):
                raise UserError(
                    f"{data}/corpus.json has subword {subword!r}: use sentencepiece or subword_nmt"
                )
            if not subword_model.is_file():
                raise UserError(f"no subwords at {subword_model}: give the corpus of the training")
        moses, lowercase = said.get("tokenizer") == "moses", bool(said.get("lowercase"))
        return cls(
            **dictionaries,
            languages=languages,
            subword=subword,
            subword_model=subword_model,
            moses=moses,
            lowercase=lowercase,
        )


def read_description(data: Path) -> Dict[str, Any]:
    """What ``data``/corpus.json says; raises as ``Corpus.read``."""
    path = data / "corpus.json"
    if not path.is_file():
        raise UserError(
            f"no {path}, which says how texts became words: give with --data a folder that "
            "data-prep has made, or write one"
        )
    try:
        found = dict(json.loads(path.read_text("utf-8")))
        if not (isinstance(found["source"], str) and isinstance(found["target"], str)):
            raise TypeError("source and target must be codes of languages")
        return found
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}): prepare it anew") from None
