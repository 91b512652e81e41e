# FLOATER alone is trained, on masked words, and the model is frozen.
BASELINE=floater
SCALES="--initial-lr-scale 16 --dynamics-lr-scale 0.1"
row floater --position-encoder floater --dynamics mlp --position-blocks all --freeze-base $SCALES
row floater-unscaled --position-encoder floater --dynamics mlp --position-blocks all --freeze-base
row floater-linear --position-encoder floater --dynamics linear --position-blocks all --freeze-base \
    --dynamics-lr-scale 0.1
