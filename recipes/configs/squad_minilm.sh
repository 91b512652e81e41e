TITLE="SQuAD: MiniLM fine-tuned with other positions"
PROTOCOL=squad_minilm
PAIRS=(half-1.1 half-2.0)
SEEDS=(1 2 3)
source "$RECIPES/rows/understanding.sh"
