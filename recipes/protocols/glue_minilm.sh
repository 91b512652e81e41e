# GLUE with a small pre-trained model: MiniLM, as data-prep/minilm.sh gets it. Optimizer, weight
# decay, batch and share of warm-up are those of fairseq's own configurations for RoBERTa. The five
# epochs are half of theirs, and the learning rate was chosen by glue_minilm_lr. A row NAME-lr-RATE has
# its own. Only the first tenth of SST-2 is trained on.
source "$RECIPES/finetuning.sh"
source "$RECIPES/minilm.sh"
EPOCHS=5
SEPARATOR=() # each input ends with one, and BERT has no other between two inputs
corpus() {
    local first=0 every=${HOLD_OUT:-0}
    [ "$PAIR" != sst-2 ] || first=6735
    DATA=$RUNS/data/glue.$PAIR${PIECES:+.$PIECES}${HOLD_OUT:+.held-out}
    PREPARE=(
        bash data-prep/glue.sh --task "$PAIR" --model "$MODEL/base" --train-rows "$first"
        --hold-out "$every" --out "$DATA"
    )
    TESTS=(valid) CLASSES=2 BATCH=16 FACTOR=1
    case $PAIR in # training rows, metrics, and the flags of the criterion for them
    cola) ROWS_OF_TASK=8551 METRICS=matthews REPORT=--report-mcc ;;
    mrpc) ROWS_OF_TASK=3668 METRICS=accuracy,f1 REPORT=--report-acc-and-f1 ;;
    rte) ROWS_OF_TASK=2490 METRICS=accuracy REPORT="" ;;
    sts-b) ROWS_OF_TASK=5749 METRICS=pearson,spearman CLASSES=1 FACTOR=5 ;;
    sst-2) ROWS_OF_TASK=6735 METRICS=accuracy BATCH=32 REPORT="" ;;
    esac
    [ "$PAIR" != sts-b ] || REPORT="--regression-target --report-pearson-and-spearman"
    [ "$every" -eq 0 ] || ROWS_OF_TASK=$((ROWS_OF_TASK - ROWS_OF_TASK / every))
    UPDATES=$(((ROWS_OF_TASK + BATCH - 1) / BATCH * EPOCHS)) WARMUP=$((UPDATES * 6 / 100))
    DURATION=(--max-update "$UPDATES")
}
training() {
    TRAIN=(
        --task floater_sentence_prediction --criterion sentence_prediction $REPORT
        --num-classes "$CLASSES" --init-token 0 "${SEPARATOR[@]}" --max-positions 512
        --finetune-from-model "$(start)" --find-unused-parameters
        --dropout 0.1 --attention-dropout 0.1
        --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-06 --weight-decay 0.1
        --lr "$(rate)" --lr-scheduler polynomial_decay --total-num-update "$UPDATES"
        --warmup-updates "$WARMUP" --batch-size "$BATCH" --max-tokens 4400
        "${DURATION[@]}"
    )
}
prediction() {
    MADE=$RUN/predict.$1.tsv
    PREDICTION=(
        floater predict "$RUN/checkpoint_last.pt" "$DATA/bin" --subset "$1"
        --factor "$FACTOR" --out "$MADE"
    )
}
scoring() { SCORING=(floater score-labels "$RUN" --metrics "$METRICS"); }
SAVE=(--no-epoch-checkpoints)
