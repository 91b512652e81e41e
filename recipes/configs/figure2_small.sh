TITLE="Figure 2: short to long, Multi30k, small"
PROTOCOL=multi30k_small_upto12
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/figure2.sh"
