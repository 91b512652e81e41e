TITLE="RoBERTa-base: FLOATER alone, by masked words"
PROTOCOL=stage1_roberta_base
PAIRS=(wikitext-103)
SEEDS=(1)
source "$RECIPES/rows/stage1.sh"
