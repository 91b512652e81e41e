TITLE="Figure 2: short to long, WMT14, base"
PROTOCOL=wmt14_base_upto80
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/figure2.sh"
