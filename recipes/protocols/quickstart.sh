# Transformer-tiny on interface texts, a few minutes on two cores.
corpus() {
    DATA=$RUNS/data/localisation.$PAIR
    PREPARE=(bash data-prep/localisation.sh --source "${PAIR%-*}" --target "${PAIR#*-}" --out "$DATA")
}
ARCH=floater_transformer_tiny
UPDATES=${UPDATES:-1400}
LR=2e-3
DURATION=(
    --max-update "$UPDATES" --save-interval-updates $((UPDATES < 7 ? 1 : UPDATES / 7))
)
training() {
    TRAIN=(
        --share-all-embeddings --dropout 0.1
        --criterion label_smoothed_cross_entropy --label-smoothing 0.1
        --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0
        --lr "$LR" --lr-scheduler inverse_sqrt --warmup-updates 400
        --max-tokens 2048 "${DURATION[@]}"
    )
}
SAVE=(--no-epoch-checkpoints --keep-interval-updates 1 --validate-interval 1000)
AVERAGE=1
# A model that was hardly trained never ends its sentences: a test need not wait for that.
GENERATE=(--beam 4 --lenpen 0.6 --max-len-b $((UPDATES < 100 ? 5 : 200)) --max-tokens 4096)
REMOVE_BPE=sentencepiece
TESTS=(test)
SCORE=()
