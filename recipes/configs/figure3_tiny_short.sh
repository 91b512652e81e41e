TITLE="Figure 3: encodings, Multi30k, tiny, 2,500 updates"
PROTOCOL=multi30k_tiny_short
PAIRS=(en-de)
SEEDS=(1)
source "$RECIPES/rows/figure3.sh"
