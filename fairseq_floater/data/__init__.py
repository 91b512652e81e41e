"""How text becomes the pieces of a dictionary: what fairseq calls a BPE."""

from fairseq_floater.data.tokenizer_json import PieceTokenizer, TokenizerJson, TokenizerJsonOptions

__all__ = ["PieceTokenizer", "TokenizerJson", "TokenizerJsonOptions"]
