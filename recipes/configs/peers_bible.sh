TITLE="Peers: short to long, Bible, tiny, up to 20,000 updates"
PROTOCOL=bible_tiny_upto30
PAIRS=(en-es)
SEEDS=(1)
LENGTH=40 SHIFT=100 # in subwords, as in peers_bible_short
source "$RECIPES/rows/peers.sh"
