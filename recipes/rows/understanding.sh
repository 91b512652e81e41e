# A pre-trained model with its own table of positions, and with FLOATER beside it (paper, 4.2); at
# once, or after a training of FLOATER alone on text (stage1_minilm): these rows end in -stage1.
# Queries, keys and values of a trained model have norms that biases do not reach from 0 at the
# learning rates of fine-tuning: the vectors at position 0 learn 16 times as fast (linear has that
# of its --initial-scale), and what all trajectories share learns as in translation: the first stage
# ends at 7.99 bits so, and at 8.17 without (floater-unscaled).
BASELINE=base
MLP="--position-encoder floater --dynamics mlp --position-blocks all"
SCALES="--initial-lr-scale 16 --dynamics-lr-scale 0.1"
LINEAR="--position-encoder floater --dynamics linear --position-blocks all --dynamics-lr-scale 0.1"
row base --position-encoder learned --position-blocks input
row floater $MLP $SCALES
row floater-stage1 $MLP $SCALES
row floater-frozen-stage1 $MLP --freeze-position-encoder
row floater-linear $LINEAR
row floater-linear-stage1 $LINEAR
row rotary --position-encoder rotary --keep-input-positions
row none --position-encoder none
