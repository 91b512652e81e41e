# A pre-trained model with its own table of positions, and with FLOATER beside it (paper, 4.2); at
# once, or after a training of FLOATER alone on text (stage1_minilm).
BASELINE=base
row base --position-encoder learned --position-blocks input
row floater --position-encoder floater --dynamics mlp --position-blocks all
row floater-frozen --position-encoder floater --dynamics mlp --position-blocks all --freeze-position-encoder
row floater-linear --position-encoder floater --position-blocks all --dynamics linear
row rotary --position-encoder rotary --keep-input-positions
row none --position-encoder none
row floater-stage1 --position-encoder floater --dynamics mlp --position-blocks all
