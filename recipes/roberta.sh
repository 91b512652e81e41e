# The model of a protocol that fine-tunes RoBERTa as fairseq publishes it; SIZE is base or large.
ARCH=floater_roberta_$SIZE
MODEL=$RUNS/models/roberta.$SIZE
PREPARE_MODEL=(bash data-prep/roberta.sh --size "$SIZE" --out "$MODEL")
STAGE1=stage1_roberta_$SIZE/wikitext-103
PIECES=roberta.$SIZE # another folder for corpora in its pieces
DOUBLE=--double-separator # between the two texts of an input
