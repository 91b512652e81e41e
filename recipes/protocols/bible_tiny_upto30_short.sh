# As bible_tiny_upto30, but 4,500 updates instead of up to 20,000: for two cores and an evening.
source "$RECIPES/protocols/bible_tiny_upto30.sh"
WARMUP=1000 DURATION=(--max-update 4500)
