# The first stage of the paper with RoBERTa-base: FLOATER alone learns, by masked words, for about an
# epoch of WikiText-103.
UPDATES=${UPDATES:-28000}
source "$RECIPES/protocols/stage1_minilm.sh"
SIZE=base
source "$RECIPES/roberta.sh"
