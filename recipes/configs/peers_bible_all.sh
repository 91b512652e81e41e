TITLE="Peers: Bible, all training pairs, tiny, 4,500 updates"
PROTOCOL=bible_tiny_short
PAIRS=(en-es)
SEEDS=(1)
LENGTH=100 SHIFT=100 # in subwords
source "$RECIPES/rows/peers.sh"
