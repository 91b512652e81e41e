# The curves of the paper's figure 2: trained on short sentences, scored by length.
BASELINE=sinusoidal-input
row floater-all --position-encoder floater --position-blocks all
row floater-undamped --position-encoder floater --position-blocks all --dynamics-damping 0
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
row learned-input --position-encoder learned --position-blocks input
