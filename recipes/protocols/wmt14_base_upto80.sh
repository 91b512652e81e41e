# Short to long: as wmt14_base on the pairs of up to 80 English words; newstest2014, and the longer
# ones of the held-out training pairs, by length.
source "$RECIPES/protocols/wmt14_base.sh"
LIMIT=80
TESTS=(test long)
SCORE+=(--bins 80,100,120,140)
