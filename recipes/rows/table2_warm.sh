# The rows of the paper's table 2 by its own protocol: FLOATER starts from the trained base model.
BASELINE=sinusoidal-input
warm_row floater-all-warm sinusoidal-input --position-encoder floater --dynamics mlp --position-blocks all
row sinusoidal-all --position-encoder sinusoidal --position-blocks all
row learned-all --position-encoder learned --position-blocks all
warm_row floater-input-warm sinusoidal-input --position-encoder floater --dynamics mlp --position-blocks input
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
row learned-input --position-encoder learned --position-blocks input
