TITLE="Peers with joined training pairs: Bible, tiny, 4,500 updates"
PROTOCOL=bible_tiny_upto30_joined_short
PAIRS=(en-es)
SEEDS=(1)
LENGTH=90 SHIFT=100 # in subwords: 99.9 % of two sentences of up to 30 words have up to 89
source "$RECIPES/rows/peers.sh"
ROWS=(sinusoidal-input rotary fire floater-driven floater-on-rotary)
