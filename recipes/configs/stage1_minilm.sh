TITLE="MiniLM: FLOATER alone, by masked words (rows -short have shorter blocks, also to be validated on)"
PROTOCOL=stage1_minilm
PAIRS=(brown wikitext-2 wikitext-103)
SEEDS=(1)
source "$RECIPES/rows/stage1.sh"
# MiniLM comes without a head that predicts words, so a head is trained before FLOATER. Two controls
# stand beside FLOATER's loss: the head, trained for as many further updates; and biases of the same
# projections that are the same at all positions, to show how much of the gain is due to positions.
# (Such biases of keys change nothing: they add the same to all logits of a query.)
for row in "${ROWS[@]}"; do ROW_BASE[$row]=head; done
AS_IT_WAS="--position-encoder learned --position-blocks input"
for row in head head-lr-1e-3 head-lr-3e-2; do row "$row" $AS_IT_WAS --train-only lm_head; done
warm_row head-longer-lr-1e-2 head $AS_IT_WAS --train-only lm_head
BIASES='--train-only q_proj.bias|k_proj.bias|v_proj.bias'
warm_row biases-lr-1e-2 head $AS_IT_WAS $BIASES
# The same on short inputs, such as those of GLUE.
warm_row floater-short head --position-encoder floater --dynamics mlp --position-blocks all \
    --freeze-base $SCALES
warm_row biases-lr-1e-2-short head $AS_IT_WAS $BIASES
warm_row head-longer-lr-1e-2-short head $AS_IT_WAS --train-only lm_head
warm_row floater-linear-short head --position-encoder floater --dynamics linear --position-blocks all \
    --freeze-base --dynamics-lr-scale 0.1
