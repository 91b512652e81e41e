TITLE="Figure 2: short to long, Bible, tiny, 4,500 updates"
PROTOCOL=bible_tiny_upto30_short
PAIRS=(en-es)
SEEDS=(1)
source "$RECIPES/rows/figure2.sh"
