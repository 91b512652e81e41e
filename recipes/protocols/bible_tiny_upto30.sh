# Short to long: as bible_tiny, but trained on the pairs of up to 30 English words. Scored on the test
# set, and on pairs of more than 40 words that training leaves out.
source "$RECIPES/protocols/bible_tiny.sh"
corpus() {
    DATA=$RUNS/data/bible.$PAIR.upto30
    PREPARE=(bash data-prep/bible.sh --train-max-words 30 --long-test 40 --out "$DATA")
}
TESTS=(test long)
SCORE+=(--subword-bins 1,1.33,1.66)
