TITLE="Peers with joined training pairs: Bible, tiny, 4,500 updates"
PROTOCOL=bible_tiny_upto30_joined_short
PAIRS=(en-es)
SEEDS=(1)
LENGTH=80 SHIFT=100 # in subwords: two sentences of up to 30 words are up to about 80
source "$RECIPES/rows/peers.sh"
ROWS=(sinusoidal-input rotary alibi floater-linear-initial16 floater-on-rotary)
