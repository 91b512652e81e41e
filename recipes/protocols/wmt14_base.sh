# WMT14, Transformer base, as in the paper: 30 epochs at a peak learning rate of 7e-4, and a warm
# start at half of that rate for 10 epochs (En-De) or 1 (En-Fr). The batch is that of eight GPUs; on
# one, give run.sh --train "--update-freq 8".
LIMIT=0 # train on pairs of up to so many English words; 0: on all
corpus() {
    DATA=$RUNS/data/wmt14.$PAIR
    PREPARE=(bash data-prep/wmt14.sh --target "${PAIR#en-}")
    # For German, the corpus that the authors of FLOATER use.
    if [ "$PAIR" = en-de ]; then
        DATA+=.icml17
        PREPARE+=(--icml17)
    fi
    if [ "$LIMIT" -gt 0 ]; then
        DATA+=.upto$LIMIT
        PREPARE+=(--train-max-words "$LIMIT")
    fi
    PREPARE+=(--out "$DATA")
    WARM_DURATION=(--max-epoch "$([ "$PAIR" = en-de ] && echo 10 || echo 1)")
    of_pair
}
of_pair() { :; }
ARCH=floater_transformer_wmt_en_de
LR=7e-4 DROPOUT=0.1 DURATION=(--max-epoch 30)
WARM_LR=3.5e-4
training() {
    TRAIN=(
        --share-all-embeddings --dropout "$DROPOUT"
        --criterion label_smoothed_cross_entropy --label-smoothing 0.1
        --optimizer adam --adam-betas '(0.9, 0.98)'
        --lr "$LR" --lr-scheduler inverse_sqrt --warmup-updates 4000 --warmup-init-lr 1e-7
        --max-tokens 3584 --fp16 "${DURATION[@]}"
    )
}
SAVE=(--no-epoch-checkpoints --save-interval-updates 1500 --keep-interval-updates 5) AVERAGE=5
GENERATE=(--beam 4 --lenpen 0.6 --max-len-b 256 --max-tokens 8192)
REMOVE_BPE="@@ "
TESTS=(test)
SCORE=(--compound-split)
