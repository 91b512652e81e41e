"""What brings positions into fairseq's Transformer blocks."""
