# A pre-trained model with its own table of positions, and with FLOATER beside it (paper, 4.2): either
# at once, or after FLOATER alone was trained on text (stage1_minilm), in the rows that end in -stage1.
# At the learning rates of fine-tuning, biases that start at 0 do not reach the norms that queries,
# keys and values of a trained model have. So the vectors at position 0 learn 16 times as fast (linear
# has this from its --initial-scale), and the part that all trajectories share learns as in
# translation. With these rates the first stage ends at 7.99 bits, and without them at 8.17
# (floater-unscaled).
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
