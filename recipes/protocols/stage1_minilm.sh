# The first stage of the paper with MiniLM, on about an epoch of the Brown corpus. MiniLM comes without a
# head that tells words: it is trained first, from nothing, and rests then, too. Its learning rate is
# the best of 1e-3, 1e-2 and 3e-2 on the validation set (9.52, 9.25 and 9.26 bits after an epoch).
source "$RECIPES/finetuning.sh"
source "$RECIPES/minilm.sh"
source "$RECIPES/stage1.sh"
LR=1e-2 DURATION=(--max-update 600)
WARM_LR=1e-3 WARM_DURATION=(--max-update 300)
