TITLE="Table 6: dynamics, Bible, tiny"
PROTOCOL=bible_tiny
PAIRS=(en-es)
SEEDS=(1)
source "$RECIPES/rows/table6.sh"
