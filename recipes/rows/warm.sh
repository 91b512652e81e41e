# What a trained base model gains from FLOATER, against itself trained for as many further updates.
BASELINE=sinusoidal-input-longer
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
warm_row sinusoidal-input-longer sinusoidal-input \
    --position-encoder sinusoidal --position-blocks input
warm_row floater-all-warm sinusoidal-input --position-encoder floater --dynamics mlp --position-blocks all
