TITLE="Table 2: position encoders and blocks, Multi30k, tiny, 2,500 updates"
PROTOCOL=multi30k_tiny_short
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/table2.sh"
