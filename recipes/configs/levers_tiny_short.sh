TITLE="Cost levers: the dynamics trained less often or not at all, Multi30k, tiny, 2,500 updates"
PROTOCOL=multi30k_tiny_short
PAIRS=(en-de)
SEEDS=(1)
source "$RECIPES/rows/levers.sh"
