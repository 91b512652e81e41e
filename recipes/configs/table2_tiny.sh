TITLE="Table 2: position encoders and blocks, Multi30k, tiny"
PROTOCOL=multi30k_tiny
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/table2.sh"
