# As stage1_roberta_base, with the large model.
source "$RECIPES/protocols/stage1_roberta_base.sh"
SIZE=large
source "$RECIPES/roberta.sh"
