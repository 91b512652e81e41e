TITLE="MiniLM: FLOATER alone, by masked words (rows -short have shorter blocks, also to be validated on)"
PROTOCOL=stage1_minilm
PAIRS=(brown wikitext-2 wikitext-103)
SEEDS=(1)
source "$RECIPES/rows/stage1.sh"
# MiniLM comes without a head that tells words: FLOATER starts once it has one. What the head gains by
# as many updates more is what FLOATER's loss is to be compared with; and what biases of the same
# projections gain that are the same at all positions shows what positions have to do with it (such
# biases of keys change nothing: they add the same to all logits of a query).
for row in "${ROWS[@]}"; do ROW_BASE[$row]=head; done
AS_IT_WAS="--position-encoder learned --position-blocks input"
for row in head head-lr-1e-3 head-lr-3e-2; do row "$row" $AS_IT_WAS --train-only lm_head; done
warm_row head-longer-lr-1e-2 head $AS_IT_WAS --train-only lm_head
BIASES='--train-only q_proj.bias|k_proj.bias|v_proj.bias'
warm_row biases-lr-1e-2 head $AS_IT_WAS $BIASES
# The same on short inputs, of which GLUE's are.
warm_row floater-short head --position-encoder floater --dynamics mlp --position-blocks all \
    --freeze-base $SCALES
warm_row biases-lr-1e-2-short head $AS_IT_WAS $BIASES
warm_row head-longer-lr-1e-2-short head $AS_IT_WAS --train-only lm_head
warm_row floater-linear-short head --position-encoder floater --dynamics linear --position-blocks all \
    --freeze-base --dynamics-lr-scale 0.1
