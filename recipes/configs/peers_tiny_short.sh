TITLE="Peers: Multi30k, tiny, 2,500 updates"
PROTOCOL=multi30k_tiny_short
PAIRS=(en-de)
SEEDS=(1)
LENGTH=40 SHIFT=100 # in subwords
source "$RECIPES/rows/peers.sh"
