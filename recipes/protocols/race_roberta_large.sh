# RACE with RoBERTa-large, by fairseq's own recipe (examples/roberta/README.race.md): a fixed learning
# rate, eight questions an update.
source "$RECIPES/protocols/race_minilm.sh"
SIZE=large
source "$RECIPES/roberta.sh"
LR=1e-5 BATCH=8
corpus() {
    DATA=$RUNS/data/$PAIR.$PIECES
    PREPARE=(bash data-prep/race.sh --corpus "$PAIR" --model "$MODEL/base" --out "$DATA")
    TESTS=(test test1)
    UPDATES=$(((87866 + BATCH - 1) / BATCH * EPOCHS))
    DURATION=(--max-update "$UPDATES")
    SCHEDULE=(--lr-scheduler fixed)
}
