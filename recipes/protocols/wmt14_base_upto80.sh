# Short to long: as wmt14_base, but trained on the pairs of up to 80 English words. Scored by length, on
# newstest2014 and on the longer ones of the held-out training pairs.
source "$RECIPES/protocols/wmt14_base.sh"
LIMIT=80
TESTS=(test long)
SCORE+=(--bins 80,100,120,140)
