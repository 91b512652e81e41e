TITLE="Peers: short to long, Bible, tiny, 4,500 updates"
PROTOCOL=bible_tiny_upto30_short
PAIRS=(en-es)
SEEDS=(1)
LENGTH=40 SHIFT=100 # in subwords: 30 words are about 40, the longest test sentence 120
source "$RECIPES/rows/peers.sh"
