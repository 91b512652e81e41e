# Short to long: as multi30k_tiny, but trained on the 18,113 pairs of up to 12 English words, until the
# validation loss has not improved for 10 epochs, and scored by length.
source "$RECIPES/protocols/multi30k_tiny.sh"
corpus() {
    DATA=$RUNS/data/multi30k.$PAIR.upto12
    PREPARE=(bash data-prep/multi30k.sh --target "${PAIR#en-}" --train-max-words 12 --out "$DATA")
}
DURATION=(--max-update 20000 --patience 10)
SCORE=(--bins 12,16,20,25 --subword-bins 1,1.33,1.66)
