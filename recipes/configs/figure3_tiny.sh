TITLE="Figure 3: encodings, Multi30k, tiny"
PROTOCOL=multi30k_tiny
PAIRS=(en-de en-fr)
SEEDS=(1)
source "$RECIPES/rows/figure3.sh"
