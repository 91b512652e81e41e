# The costs, and the losses in quality, of training the dynamics less often, alone, or not at all.
BASELINE=floater-all
FLOATER="--position-encoder floater --dynamics mlp --position-blocks all"
row floater-all $FLOATER
row floater-lr-1 $FLOATER --dynamics-lr-scale 1
row floater-every-4 $FLOATER --position-encoder-update-interval 4
row floater-every-32 $FLOATER --position-encoder-update-interval 32
row floater-5-steps $FLOATER --ode-steps-per-position 5
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
# From the trained base model, which continues as it is or with FLOATER. With FLOATER, everything is
# trained, or only the positions.
warm_row sinusoidal-input-longer sinusoidal-input \
    --position-encoder sinusoidal --position-blocks input
warm_row floater-all-warm sinusoidal-input $FLOATER
warm_row floater-only-warm sinusoidal-input $FLOATER --freeze-base
# From the trained FLOATER model: everything is trained, or everything except the positions.
warm_row floater-longer floater-all $FLOATER
warm_row floater-longer-frozen floater-all $FLOATER --freeze-position-encoder
