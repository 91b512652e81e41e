# As multi30k_tiny, but 2,500 updates instead of 8,000: for two cores and an evening.
source "$RECIPES/protocols/multi30k_tiny.sh"
WARMUP=1000 DURATION=(--max-update 2500)
WARM_WARMUP=200 WARM_DURATION=(--max-update 800)
