# WMT14, Transformer big; otherwise as wmt14_base.
source "$RECIPES/protocols/wmt14_base.sh"
corpus() {
    DATA=$RUNS/data/wmt14.$PAIR
    PREPARE=(bash data-prep/wmt14.sh --target "${PAIR#en-}" --out "$DATA")
    WARM_DURATION=(--max-epoch "$([ "$PAIR" = en-de ] && echo 10 || echo 1)")
    ARCH=floater_transformer_vaswani_wmt_${PAIR/-/_}_big
}
LR=5e-4 DROPOUT=0.3
WARM_LR=2.5e-4
