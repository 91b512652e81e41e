TITLE="RACE: RoBERTa-large fine-tuned with other positions"
PROTOCOL=race_roberta_large
PAIRS=(race)
SEEDS=(1 2 3 4 5)
source "$RECIPES/rows/understanding.sh"
