# RACE with RoBERTa-large, by fairseq's own recipe (examples/roberta/README.race.md): a fixed learning
# rate, and eight questions an update on each of two GPUs.
source "$RECIPES/protocols/race_minilm.sh"
SIZE=large
source "$RECIPES/roberta.sh"
LR=1e-5 SCHEDULER=fixed
