# Multi30k with fairseq's transformer_iwslt_de_en (6+6 blocks, width 512).
source "$RECIPES/protocols/multi30k_tiny.sh"
ARCH=floater_transformer_iwslt_de_en
LR=5e-4 DYNAMICS=""
