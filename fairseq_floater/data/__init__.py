"""Turn text into pieces of a dictionary, which fairseq calls a BPE, and questions into inputs."""

from fairseq_floater.data.choices import LETTERS, ChoiceRows, parse_passage, read_choices
from fairseq_floater.data.dictionaries import read_dictionary, read_pieces
from fairseq_floater.data.pairs import Layout
from fairseq_floater.data.squad import Answer, Question, Squad, faults, parse_squad, read_squad
from fairseq_floater.data.tokenizer_json import PieceTokenizer, TokenizerJson, TokenizerJsonOptions
from fairseq_floater.data.windows import QuestionWindows

__all__ = [
    "LETTERS",
    "Answer",
    "ChoiceRows",
    "Layout",
    "PieceTokenizer",
    "Question",
    "QuestionWindows",
    "Squad",
    "TokenizerJson",
    "TokenizerJsonOptions",
    "faults",
    "parse_passage",
    "parse_squad",
    "read_choices",
    "read_dictionary",
    "read_pieces",
    "read_squad",
]
