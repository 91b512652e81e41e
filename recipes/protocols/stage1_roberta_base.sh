# The first stage of the paper with RoBERTa-base: FLOATER alone is trained, on masked words, for about
# an epoch of WikiText-103.
source "$RECIPES/finetuning.sh"
source "$RECIPES/stage1.sh"
LR=1e-3 DURATION=(--max-update 28000)
SIZE=base
source "$RECIPES/roberta.sh"
