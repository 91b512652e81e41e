TITLE="Table 2: position encoders and blocks, Multi30k, small"
PROTOCOL=multi30k_small
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/table2.sh"
