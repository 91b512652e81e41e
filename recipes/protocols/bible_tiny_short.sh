# As bible_tiny, but 4,500 updates instead of up to 20,000: for two cores and an evening.
source "$RECIPES/protocols/bible_tiny.sh"
WARMUP=1000 DURATION=(--max-update 4500)
