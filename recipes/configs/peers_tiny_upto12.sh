TITLE="Peers: short to long, Multi30k, tiny"
PROTOCOL=multi30k_tiny_upto12
PAIRS=(en-de)
SEEDS=(1)
LENGTH=16 BUCKETS=16 SHIFT=40 # in subwords; of 32 buckets 16 would be for single distances
source "$RECIPES/rows/peers.sh"
