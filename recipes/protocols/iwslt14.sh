# IWSLT14 German to English: fairseq's recipe (34.66 to 35.07 tokenised BLEU in the literature),
# with the average of the last 5 checkpoints.
corpus() {
    DATA=$RUNS/data/iwslt14.$PAIR
    PREPARE=(bash data-prep/iwslt14.sh --out "$DATA")
}
ARCH=floater_transformer_iwslt_de_en
LR=5e-4 DURATION=(--max-epoch 60)
training() {
    TRAIN=(
        --share-decoder-input-output-embed --dropout 0.3 --weight-decay 0.0001
        --criterion label_smoothed_cross_entropy --label-smoothing 0.1
        --optimizer adam --adam-betas '(0.9, 0.98)'
        --lr "$LR" --lr-scheduler inverse_sqrt --warmup-updates 4000
        --max-tokens 4096 "${DURATION[@]}"
    )
}
SAVE=(--keep-last-epochs 5) AVERAGE=5
GENERATE=(--beam 5 --max-len-b 200 --max-tokens 8192)
REMOVE_BPE="@@ "
TESTS=(test)
SCORE=()
