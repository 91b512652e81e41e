TITLE="Choosing FLOATER's defaults: Multi30k, tiny, 2,500 updates, validation set"
PROTOCOL=multi30k_tiny_short
PAIRS=(en-de)
SEEDS=(1)
ON_VALIDATION=1
BASELINE=sinusoidal-input
FLOATER="--position-encoder floater --dynamics mlp --position-blocks all"
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
row learned-all --position-encoder learned --position-blocks all
row floater-all $FLOATER
row floater-lr-1 $FLOATER --dynamics-lr-scale 1
row floater-lr-0.3 $FLOATER --dynamics-lr-scale 0.3
row floater-additive $FLOATER --position-injection additive
row floater-input-additive \
    --position-encoder floater --dynamics mlp --position-blocks input --position-injection additive
row floater-no-base $FLOATER --no-token-positional-embeddings
row floater-scale-1 $FLOATER --dynamics-init-scale 1
row floater-period-100 $FLOATER --dynamics-longest-period 100
row floater-damped $FLOATER --dynamics-damping 0.05
row floater-sin $FLOATER --dynamics-activation sin
row floater-shared $FLOATER --share-dynamics all
# The paper's small random h; then our first defaults, damped and with fewer steps of the solver.
row floater-random $FLOATER --dynamics-init random
OLD="--dynamics-init random --dynamics-damping 0.5 --ode-steps-per-position 1/2"
row floater-random-damped $FLOATER $OLD
row floater-random-damped-lr-1 $FLOATER $OLD --dynamics-lr-scale 1
