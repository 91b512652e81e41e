TITLE="Figure 2: short to long, Bible, tiny"
PROTOCOL=bible_tiny_upto30
PAIRS=(en-es)
SEEDS=(1)
source "$RECIPES/rows/figure2.sh"
