TITLE="GLUE, development sets: MiniLM fine-tuned with other positions"
PROTOCOL=glue_minilm
PAIRS=(rte mrpc cola sts-b sst-2)
SEEDS=(1 2 3 4 5)
source "$RECIPES/rows/understanding.sh"
# What comes out better by chance: the base model again, with other seeds.
row base-again "${ROW_FLAGS[base]}"
ROW_SEEDS[base-again]="6 7 8 9 10"
