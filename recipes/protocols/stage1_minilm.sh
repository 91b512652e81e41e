# The first stage of the paper with MiniLM, on the Brown corpus, where an epoch has 273 updates. MiniLM
# comes without a head that predicts words, so a head is trained first, and is then frozen too. All of
# the head is trained except its output matrix, which is the model's own embedding. The head learns
# from nothing, at ten times the rate; the rows head-lr-1e-3 and head-lr-3e-2 have other rates.
source "$RECIPES/finetuning.sh"
source "$RECIPES/minilm.sh"
source "$RECIPES/stage1.sh"
LR=1e-2 DURATION=(--max-update 600)
WARM_LR=1e-3 WARM_DURATION=(--max-update 300)
