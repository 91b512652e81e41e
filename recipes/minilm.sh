# The model of a protocol that fine-tunes MiniLM, a BERT of 6 blocks and width 384.
ARCH=floater_roberta_minilm
MODEL=$RUNS/models/minilm
PREPARE_MODEL=(bash data-prep/minilm.sh --out "$MODEL")
STAGE1=stage1_minilm/brown
LR=1e-4 # chosen by glue_minilm_lr, and also used for questions with options
