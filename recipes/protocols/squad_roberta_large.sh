# SQuAD with RoBERTa-large: the learning rate of its paper for SQuAD (Liu, Y. et al. 2019, table 10).
source "$RECIPES/protocols/squad_minilm.sh"
SIZE=large
source "$RECIPES/roberta.sh"
LR=1.5e-5
