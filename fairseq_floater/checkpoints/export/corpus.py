"""Read what an exported model takes along from the corpus that it was trained on."""

import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from fairseq.data import Dictionary

from fairseq_floater.data import read_dictionary
from fairseq_floater.errors import UserError, first_line
from fairseq_floater.models.floater_transformer import FloaterTransformerModel

#: what ``data-prep/moses.py`` can do to texts
STEPS = ("lowercase", "normalise", "remove-non-printing", "tokenise", "tokenise-aggressive")


class Corpus(NamedTuple):
    """The dictionaries of a corpus, and how its texts became words and subwords.

    Attributes:
        source, target: the dictionaries.
        languages: the codes of both languages.
        subword: ``sentencepiece``, ``subword_nmt`` or None.
        subword_model: the file of the library of that name, if there is one.
        steps: the steps of Moses that texts went through, named as in ``data-prep/moses.py``.
    """

    source: Dictionary
    target: Dictionary
    languages: Dict[str, str]
    subword: Optional[str]
    subword_model: Optional[Path]
    steps: List[str]

    @classmethod
    def read(cls, data: Path, model: FloaterTransformerModel) -> "Corpus":
        """Read a folder with ``corpus.json``, ``bin`` and ``bpe.model``, as from ``data-prep``.

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
                    f"no dictionary at {path}: give the corpus of the training as --data"
                )
            dictionaries[side] = read_dictionary(path)
            if len(dictionaries[side]) != words:
                raise UserError(
                    f"{path} has {len(dictionaries[side]):,} words, but the model has {words:,}: "
                    "give the corpus of the training as --data"
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
        return cls(
            **dictionaries,
            languages=languages,
            subword=subword,
            subword_model=subword_model,
            steps=said["steps"],
        )


def read_description(data: Path) -> Dict[str, Any]:
    """Return what ``data``/corpus.json says; raises as ``Corpus.read`` does."""
    path = data / "corpus.json"
    if not path.is_file():
        raise UserError(
            f"no {path}, which says how texts became words: give a folder made by data-prep "
            "as --data, or write the file"
        )
    try:
        found = {"tokenizer": None, "steps": [], **json.loads(path.read_text("utf-8"))}
        if not (isinstance(found["source"], str) and isinstance(found["target"], str)):
            raise TypeError("source and target must be language codes")
        if found["tokenizer"] not in ("moses", None):
            raise TypeError(f"tokenizer must be moses or null, not {found['tokenizer']!r}")
        if bool(found["steps"]) != (found["tokenizer"] == "moses"):
            raise TypeError("steps must be those of Moses's that the texts went through")
        if unknown := set(found["steps"]) - set(STEPS):
            raise TypeError(f"steps has {min(unknown)}, but must be among {', '.join(STEPS)}")
        return found
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}): prepare it again") from None
