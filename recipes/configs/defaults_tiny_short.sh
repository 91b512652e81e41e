TITLE="Choosing FLOATER's defaults: Multi30k, tiny, 2,500 updates, validation set"
PROTOCOL=multi30k_tiny_short
PAIRS=(en-de)
SEEDS=(1)
ON_VALIDATION=1
BASELINE=sinusoidal-input
FLOATER="--position-encoder floater --position-blocks all"
row sinusoidal-input --position-encoder sinusoidal --position-blocks input
row floater-all $FLOATER
row floater-lr-0.1 $FLOATER --dynamics-lr-scale 0.1
row floater-lr-0.3 $FLOATER --dynamics-lr-scale 0.3
row floater-undamped $FLOATER --dynamics-damping 0
row floater-additive $FLOATER --position-injection additive
row floater-lr-0.1-undamped $FLOATER --dynamics-lr-scale 0.1 --dynamics-damping 0
row floater-damping-2 $FLOATER --dynamics-damping 2
row floater-delta-0.3 $FLOATER --position-delta 0.3
row floater-delta-1 $FLOATER --position-delta 1
row floater-scale-0.1 $FLOATER --dynamics-init-scale 0.1
row floater-scale-1 $FLOATER --dynamics-init-scale 1
row floater-sin $FLOATER --dynamics-activation sin
row floater-gelu $FLOATER --dynamics-activation gelu
row floater-shared $FLOATER --share-dynamics all
