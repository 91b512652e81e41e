TITLE="GLUE, development sets: MiniLM fine-tuned with other positions"
PROTOCOL=glue_minilm
PAIRS=(rte mrpc cola sts-b sst-2)
SEEDS=(1 2 3 4 5)
source "$RECIPES/rows/understanding.sh"
# To show how much comes out better by chance: the base model again, with other seeds.
row base-again "${ROW_FLAGS[base]}"
ROW_SEEDS[base-again]="6 7 8 9 10"
# The gain of a first stage that has nothing to do with positions: biases that are the same at all
# positions.
row biases-stage1 "${ROW_FLAGS[base]}"
# After a first stage on inputs as short as those of GLUE. This row is beside the main one, and is not
# counted.
row floater-short-stage1 $MLP $SCALES
