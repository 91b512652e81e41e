# WMT14, Transformer big; otherwise as wmt14_base. French has less dropout (Vaswani et al. 2017, section
# 6.1).
source "$RECIPES/protocols/wmt14_base.sh"
of_pair() {
    ARCH=floater_transformer_vaswani_wmt_${PAIR/-/_}_big
    DROPOUT=$([ "$PAIR" = en-de ] && echo 0.3 || echo 0.1)
}
LR=5e-4
WARM_LR=2.5e-4
