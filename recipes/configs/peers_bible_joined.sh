TITLE="Peers with joined training pairs: Bible, tiny, 4,500 updates"
PROTOCOL=bible_tiny_upto30_joined_short
PAIRS=(en-es)
SEEDS=(1)
LENGTH=80 SHIFT=100 # in subwords; LENGTH is twice that of peers_bible_short, for two sentences
source "$RECIPES/rows/peers.sh"
ROWS=(sinusoidal-input rotary fire floater-driven floater-on-rotary)
