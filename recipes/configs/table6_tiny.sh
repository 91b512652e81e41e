TITLE="Table 6: dynamics, Multi30k, tiny"
PROTOCOL=multi30k_tiny
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/table6.sh"
