# As bible_tiny_upto30_short, but training pairs are also joined with their neighbours, into pairs of
# two sentences and up to 60 words. Checkpoints are saved, and averaged, at the same updates as there:
# an epoch has 171 updates there, and 471 here.
source "$RECIPES/protocols/bible_tiny_upto30_short.sh"
corpus() {
    DATA=$RUNS/data/bible.$PAIR.upto30.joined
    PREPARE=(
        bash data-prep/bible.sh --train-max-words 30 --long-test 40 --joined yes --out "$DATA"
    )
}
SAVE=(--no-epoch-checkpoints --save-interval-updates 171 --keep-interval-updates 5)
