TITLE="GLUE, held-out training rows: the learning rate of MiniLM as it was, and of FLOATER in it"
PROTOCOL=glue_minilm_held_out
PAIRS=(rte mrpc cola sts-b)
SEEDS=(1)
source "$RECIPES/rows/understanding.sh"
BASELINE=base-lr-1e-4
ROWS=() # only the flags of those rows are used
for rate in ${RATES:-5e-5 1e-4 2e-4}; do # if 2e-4 is the best, also run with RATES=3e-4
    row "base-lr-$rate" "${ROW_FLAGS[base]}"
done
# At the chosen rate: should FLOATER have rates of its own after its first stage?
row floater-stage1 $MLP $SCALES
row floater-stage1-unscaled $MLP
# After a first stage on inputs as short as those of these tasks.
row floater-short-stage1 $MLP $SCALES
