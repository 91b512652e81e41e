TITLE="Figure 3: encodings, WMT14, base"
PROTOCOL=wmt14_base
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/figure3.sh"
