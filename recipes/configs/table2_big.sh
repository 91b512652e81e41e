TITLE="Table 2: position encoders and blocks, WMT14, big"
PROTOCOL=wmt14_big
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/table2_warm.sh"
