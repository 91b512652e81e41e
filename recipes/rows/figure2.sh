# The curves of the paper's figure 2: models trained on short sentences, scored by length. FLOATER
# is trained as it is by default, with the paper's initial h (small and random), and with damping,
# which makes it forget.
BASELINE=sinusoidal-input
FLOATER="--position-encoder floater --dynamics mlp --position-blocks all"
row floater-all $FLOATER
row floater-all-random $FLOATER --dynamics-init random
row floater-all-damped $FLOATER --dynamics-damping 0.5
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
row learned-input --position-encoder learned --position-blocks input
