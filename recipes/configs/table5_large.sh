TITLE="SQuAD, development sets: RoBERTa-large fine-tuned with other positions"
PROTOCOL=squad_roberta_large
PAIRS=(1.1 2.0)
SEEDS=(1 2 3 4 5)
source "$RECIPES/rows/understanding.sh"
