TITLE="MiniLM: FLOATER alone, by masked words"
PROTOCOL=stage1_minilm
PAIRS=(brown wikitext-2 wikitext-103)
SEEDS=(1)
source "$RECIPES/rows/stage1.sh"
# MiniLM comes without a head that tells words: FLOATER starts once it has one. What the head gains by
# as many updates more is what FLOATER's loss is to be compared with.
for row in "${ROWS[@]}"; do ROW_BASE[$row]=head; done
ROWS=(head head-longer-lr-1e-2 "${ROWS[@]}")
HEAD="--position-encoder learned --position-blocks input --train-only lm_head"
ROW_FLAGS[head]=$HEAD ROW_FLAGS[head-longer-lr-1e-2]=$HEAD ROW_BASE[head-longer-lr-1e-2]=head
