# What it costs, and what it loses, to train the dynamics less often or not at all.
BASELINE=floater-all
FLOATER="--position-encoder floater --position-blocks all"
row floater-all $FLOATER
row floater-every-4 $FLOATER --dynamics-update-interval 4
row floater-every-32 $FLOATER --dynamics-update-interval 32
row floater-frozen $FLOATER --freeze-dynamics
row floater-5-steps $FLOATER --ode-steps-per-position 5
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
warm_row floater-only-warm sinusoidal-input $FLOATER --freeze-base
warm_row floater-all-warm sinusoidal-input $FLOATER
