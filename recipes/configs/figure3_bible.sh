TITLE="Figure 3: encodings, Bible, tiny"
PROTOCOL=bible_tiny
PAIRS=(en-es)
SEEDS=(1)
source "$RECIPES/rows/figure3.sh"
