# Short to long with fairseq's transformer_iwslt_de_en; see multi30k_tiny_upto12.
source "$RECIPES/protocols/multi30k_tiny_upto12.sh"
ARCH=floater_transformer_iwslt_de_en
LR=5e-4 DYNAMICS=""
