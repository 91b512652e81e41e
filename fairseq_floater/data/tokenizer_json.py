"""The tokenizer of a Hugging Face model, in one file ``tokenizer.json``, as a BPE for fairseq.

It may be WordPiece as in BERT, byte-level BPE as in RoBERTa, or SentencePiece's unigrams: the file
describes all of it, and the library ``tokenizers`` runs it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Container, Dict, List, NamedTuple, Optional, Union

from fairseq.data.encoders import register_bpe
from fairseq.dataclass import FairseqDataclass
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from fairseq_floater.encoders.flags import flag
from fairseq_floater.errors import UserError, first_line

#: fairseq's name of each special piece, in the order of its dictionary, and its names elsewhere
SPECIAL = {
    "<s>": ("[CLS]", "<s>"),
    "<pad>": ("[PAD]", "<pad>"),
    "</s>": ("[SEP]", "</s>"),
    "<unk>": ("[UNK]", "<unk>"),
    "<mask>": ("[MASK]", "<mask>"),
}

#: how WordPiece marks pieces that continue a word, and how others mark pieces that begin one
_GOES_ON, _BEGINS = "##", ("\u0120", "\u2581")


class Piece(NamedTuple):
    """A piece of a text: its name in fairseq's dictionary, its first and its last+1 character."""

    name: str
    begin: int
    end: int


class PieceTokenizer:
    """Splits texts into pieces as a ``tokenizer.json`` says, without special pieces around them.

    Args:
        path: the path of the file.

    Attributes:
        special: fairseq's names of special pieces, by their names in the file.

    Raises:
        UserError: if there is no such file, it is not a tokenizer, or it lacks a special piece.
    """

    def __init__(self, path: Union[Path, str]):
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"no tokenizer at {path}: give the path of a tokenizer.json")
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more specific
            raise UserError(
                f"tokenizer {path} cannot be read ({first_line(error)}): copy it again"
            ) from None
        self._tokenizer.no_truncation()  # sentence encoders come with both set
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # [SEP] within a text does not end it
        there = self._tokenizer.get_vocab(with_added_tokens=True)
        self.special: Dict[str, str] = {}
        for ours, names in SPECIAL.items():
            name = next((name for name in names if name in there), None)
            if name is None:
                raise UserError(
                    f"tokenizer {path} has no {' or '.join(dict.fromkeys(names))}, which fairseq "
                    f"needs as its {ours}: use that of a BERT or a RoBERTa"
                )
            self.special[name] = ours

    def vocabulary(self) -> List[str]:
        """Return the names of all pieces, ordered by number; special ones have fairseq's names.

        Raises:
            UserError: if a number is missing, two pieces would have one name, or fairseq's
                dictionary, in which a space ends a piece, cannot hold one.
        """
        by_number = {n: p for p, n in self._tokenizer.get_vocab(with_added_tokens=True).items()}
        if sorted(by_number) != list(range(len(by_number))):
            raise UserError(f"tokenizer {self.path} has gaps in its numbers: copy it again")
        names = [self._name(by_number[number]) for number in range(len(by_number))]
        if spaced := next((name for name in names if name.split() != [name]), None):
            raise UserError(
                f"tokenizer {self.path} has the piece {spaced!r}, but a name in fairseq's "
                "dictionary cannot have white space: use another model"
            )
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"tokenizer {self.path} has the piece {twice} twice: copy it again")
        return names

    def require_known(self, known: Container[str], dictionary: Path) -> None:
        """Refuse a dictionary of another model, with which all text would be unknown.

        Args:
            known: the pieces in it.
            dictionary: its path.

        Raises:
            UserError: if most pieces of the tokenizer are not in it.
        """
        names = self.vocabulary()
        there = sum(name in known for name in names)
        if there < len(names) / 2:
            raise UserError(
                f"{dictionary} has {there:,} of the {len(names):,} pieces of {self.path}: "
                "take both files from the folder of one model"
            )

    def pieces(self, text: str) -> List[Piece]:
        """Return all pieces of a text of any length, with their characters in it."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        return [Piece(self._name(p), *ends) for p, ends in zip(found.tokens, found.offsets)]

    def text(self, names: List[str]) -> str:
        """Return the text of these pieces; exact if the tokenizer keeps case and spaces.

        If the file has no decoder, there are spaces between the pieces.
        """
        back = {ours: name for name, ours in self.special.items()}
        pieces = [back.get(name, name) for name in names]
        decoder = self._tokenizer.decoder
        return " ".join(pieces) if decoder is None else str(decoder.decode(pieces))

    def begins_word(self, name: str) -> bool:
        """True if a piece begins a word, as special pieces do."""
        if isinstance(self._tokenizer.model, WordPiece):
            return not name.startswith(_GOES_ON)
        return name.startswith(_BEGINS) or name in SPECIAL

    def _name(self, piece: str) -> str:
        if self._tokenizer.token_to_id(piece) is None:  # unigrams show a text that they do not know
            return "<unk>"
        return self.special.get(piece, piece)


@dataclass
class TokenizerJsonOptions(FairseqDataclass):
    """Options of ``--bpe tokenizer_json``."""

    tokenizer_json: Optional[str] = flag(
        None, "the tokenizer.json beside a converted model (--bpe tokenizer_json)"
    )


@register_bpe("tokenizer_json", dataclass=TokenizerJsonOptions)
class TokenizerJson:
    """``--bpe tokenizer_json --tokenizer-json FILE``: text as pieces with spaces between them."""

    def __init__(self, cfg: TokenizerJsonOptions):
        if not cfg.tokenizer_json:
            raise UserError("--bpe tokenizer_json needs a file: give --tokenizer-json FILE")
        self.tokenizer = PieceTokenizer(cfg.tokenizer_json)

    def encode(self, x: str) -> str:
        return " ".join(piece.name for piece in self.tokenizer.pieces(x))

    def decode(self, x: str) -> str:
        return self.tokenizer.text(x.split())

    def is_beginning_of_word(self, x: str) -> bool:
        return self.tokenizer.begins_word(x)
