# The curves of the paper's figure 2: models trained on short sentences, scored by length. FLOATER
# has its default initial h, the paper's (small and random), or one that forgets.
BASELINE=sinusoidal-input
FLOATER="--position-encoder floater --dynamics mlp --position-blocks all"
row floater-all $FLOATER
row floater-all-random $FLOATER --dynamics-init random
row floater-all-damped $FLOATER --dynamics-damping 0.5
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
row learned-input --position-encoder learned --position-blocks input
