TITLE="Figure 3: encodings, Multi30k, small"
PROTOCOL=multi30k_small
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/figure3.sh"
