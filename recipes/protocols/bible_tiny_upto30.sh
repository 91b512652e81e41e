# Short to long: as bible_tiny on the pairs of up to 30 English words.
source "$RECIPES/protocols/bible_tiny.sh"
corpus() {
    DATA=$RUNS/data/bible.$PAIR.upto30
    PREPARE=(bash data-prep/bible.sh --train-max-words 30 --out "$DATA")
}
SCORE+=(--subword-bins 1,1.33,1.66)
