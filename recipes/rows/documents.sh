# The times of tokens in a document: their numbers, or with pauses between the sentences, each
# proportional to the length of the sentence before it (the paper's appendix C).
BASELINE=sinusoidal-input
FLOATER="--position-encoder floater --dynamics mlp --position-blocks all"
row floater-all $FLOATER
row floater-sentences-0.5 $FLOATER --position-times sentences --sentence-gap 0.5
row floater-sentences-1 $FLOATER --position-times sentences --sentence-gap 1
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
