# The first stage of the paper with RoBERTa-base: FLOATER alone learns, by masked words, for about an
# epoch of WikiText-103.
source "$RECIPES/protocols/stage1_minilm.sh"
SIZE=base
source "$RECIPES/roberta.sh"
UPDATES=28000 DURATION=(--max-update 28000) WARM_DURATION=("${DURATION[@]}")
corpus() {
    DATA=$RUNS/data/$PAIR.$PIECES
    PREPARE=(bash data-prep/wikitext.sh --corpus "$PAIR" --model "$MODEL/base" --out "$DATA")
}
