# RACE with RoBERTa-large, by fairseq's own recipe (examples/roberta/README.race.md): five epochs at a
# fixed learning rate, with sixteen questions per update. In that recipe these are eight on each of two
# GPUs.
source "$RECIPES/protocols/race_minilm.sh"
SIZE=large
source "$RECIPES/roberta.sh"
LR=1e-5 SCHEDULER=fixed EPOCHS=5
