TITLE="Table 2: position encoders and blocks, WMT14, base"
PROTOCOL=wmt14_base
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/table2_warm.sh"
