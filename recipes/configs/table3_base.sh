TITLE="GLUE, development sets: RoBERTa-base fine-tuned with other positions"
PROTOCOL=glue_roberta_base
PAIRS=(cola sst-2 mrpc qqp sts-b mnli qnli rte)
SEEDS=(1 2 3 4 5)
source "$RECIPES/rows/understanding.sh"
