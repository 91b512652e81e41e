TITLE="MiniLM: FLOATER alone, by masked words"
PROTOCOL=stage1_minilm
PAIRS=(brown wikitext-2 wikitext-103)
SEEDS=(1)
BASELINE=head
row head --position-encoder learned --position-blocks input --train-only lm_head
warm_row floater head --position-encoder floater --dynamics mlp --position-blocks all --freeze-base
