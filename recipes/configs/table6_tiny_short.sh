TITLE="Table 6: dynamics, Multi30k, tiny, 2,500 updates"
PROTOCOL=multi30k_tiny_short
PAIRS=(en-de)
SEEDS=(1)
source "$RECIPES/rows/table6.sh"
