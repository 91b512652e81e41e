# RACE with RoBERTa-large, by fairseq's own recipe (examples/roberta/README.race.md): five epochs at a
# fixed learning rate, whose sixteen questions an update are eight on each of two GPUs there.
source "$RECIPES/protocols/race_minilm.sh"
SIZE=large
source "$RECIPES/roberta.sh"
LR=1e-5 SCHEDULER=fixed EPOCHS=5
