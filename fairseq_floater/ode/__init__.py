"""The position equation and its solve: no fairseq, no tokens."""
