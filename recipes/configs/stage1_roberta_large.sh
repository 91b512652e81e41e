TITLE="RoBERTa-large: FLOATER alone, by masked words"
PROTOCOL=stage1_roberta_large
PAIRS=(wikitext-103)
SEEDS=(1)
BASELINE=floater
row floater --position-encoder floater --dynamics mlp --position-blocks all --freeze-base
