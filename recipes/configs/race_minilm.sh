TITLE="RACE and MCTest: MiniLM fine-tuned with other positions"
PROTOCOL=race_minilm
PAIRS=(mctest)
SEEDS=(1 2 3)
source "$RECIPES/rows/understanding.sh"
