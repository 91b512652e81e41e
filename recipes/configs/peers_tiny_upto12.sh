TITLE="Peers: short to long, Multi30k, tiny"
PROTOCOL=multi30k_tiny_upto12
PAIRS=(en-de)
SEEDS=(1)
# In subwords. 32 buckets are refused, because in the decoder 16 of them would be for single distances.
LENGTH=16 BUCKETS=16 FEW_BUCKETS=4 SHIFT=40
source "$RECIPES/rows/peers.sh"
