TITLE="Table 2: position encoders and blocks, IWSLT14"
PROTOCOL=iwslt14
PAIRS=(de-en)
SEEDS=(1 2 3)
source "$RECIPES/rows/table2.sh"
