TITLE="Table 6: dynamics, Multi30k, small"
PROTOCOL=multi30k_small
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/table6.sh"
