TITLE="Table 2: position encoders and blocks, Bible, tiny"
PROTOCOL=bible_tiny
PAIRS=(en-es)
SEEDS=(1)
source "$RECIPES/rows/table2.sh"
