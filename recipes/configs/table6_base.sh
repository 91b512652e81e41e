TITLE="Table 6: dynamics, WMT14, base"
PROTOCOL=wmt14_base
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/table6.sh"
