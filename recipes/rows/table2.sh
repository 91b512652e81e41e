# The rows of the paper's table 2, each trained from scratch.
BASELINE=sinusoidal-input
row floater-all --position-encoder floater --dynamics mlp --position-blocks all
row sinusoidal-all --position-encoder sinusoidal --position-blocks all
row learned-all --position-encoder learned --position-blocks all
row floater-input --position-encoder floater --dynamics mlp --position-blocks input
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
row learned-input --position-encoder learned --position-blocks input
