"""How text becomes pieces of a dictionary, what fairseq calls a BPE, and questions windows."""

from fairseq_floater.data.squad import Answer, Question, Squad, faults, parse_squad, read_squad
from fairseq_floater.data.tokenizer_json import PieceTokenizer, TokenizerJson, TokenizerJsonOptions
from fairseq_floater.data.windows import QuestionWindows

__all__ = [
    "Answer",
    "PieceTokenizer",
    "Question",
    "QuestionWindows",
    "Squad",
    "TokenizerJson",
    "TokenizerJsonOptions",
    "faults",
    "parse_squad",
    "read_squad",
]
