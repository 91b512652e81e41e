TITLE="Warm start: FLOATER from the trained base model, Multi30k, tiny"
PROTOCOL=multi30k_tiny
PAIRS=(en-de)
SEEDS=(1)
source "$RECIPES/rows/warm.sh"
