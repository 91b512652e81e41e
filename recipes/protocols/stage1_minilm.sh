# The first stage of the paper with MiniLM, on about an epoch of the Brown corpus. MiniLM comes without a
# head that tells words: it is trained first, from nothing, and rests then, too. At the rate of FLOATER
# it learned hardly anything; the rows head-lr-1e-3 and head-lr-3e-2 have other rates.
source "$RECIPES/finetuning.sh"
source "$RECIPES/minilm.sh"
source "$RECIPES/stage1.sh"
LR=1e-2 DURATION=(--max-update 600)
WARM_LR=1e-3 WARM_DURATION=(--max-update 300)
