# Questions about passages with a small pre-trained model: MiniLM, as data-prep/minilm.sh gets it.
# Batch, share of warm-up and weight decay are those of RoBERTa for SQuAD, and so are the two epochs on
# a whole corpus. On a small part of one, batches are a third as large and there are five epochs. The
# learning rate was chosen by squad_minilm_lr, on `valid`, which is not reported where there is a test
# set. A row NAME-lr-RATE has its own.
source "$RECIPES/finetuning.sh"
source "$RECIPES/minilm.sh"
LR=1e-4 BATCH=48
corpus() {
    DATA=$RUNS/data/squad.$PAIR${PIECES:+.$PIECES}
    PREPARE=(bash data-prep/squad.sh --corpus "$PAIR" --model "$MODEL/base" --out "$DATA")
    TESTS=(valid) THRESHOLD=()
    case $PAIR in # windows of the training set, epochs
    1.1) WINDOWS=88000 EPOCHS=2 ;;
    2.0) WINDOWS=131000 EPOCHS=2 ;;
    half-1.1) WINDOWS=2634 EPOCHS=5 BATCH=16 TESTS=(test test1 test2) ;;
    half-2.0) WINDOWS=4839 EPOCHS=5 BATCH=16 ;;
    esac
    case $PAIR in *2.0) THRESHOLD=(--null-threshold 0) ;; esac
    UPDATES=$(((WINDOWS + BATCH - 1) / BATCH * EPOCHS))
    DURATION=(--max-update "$UPDATES")
}
training() {
    TRAIN=(
        --task floater_question_answering --criterion answer_span --max-positions 512 ${DOUBLE:-}
        --finetune-from-model "$(start)" --find-unused-parameters
        --dropout 0.1 --attention-dropout 0.1
        --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-06 --weight-decay 0.01
        --lr "$(rate)" --lr-scheduler polynomial_decay --total-num-update "$UPDATES"
        --warmup-updates $((UPDATES * 6 / 100)) --batch-size 8 --update-freq $((BATCH / 8))
        "${DURATION[@]}"
    )
}
prediction() {
    MADE=$RUN/answer.$1
    PREDICTION=(
        floater answer "$RUN/checkpoint_last.pt" "$DATA/bin" --subset "$1"
        --out "$MADE"
    )
    # One window, beyond the positions of training, where test1 has several.
    [ "$1" != test2 ] || PREDICTION+=(--window-length 1024)
}
scoring() { SCORING=(floater score-answers "$RUN" --data "$DATA/bin" "${THRESHOLD[@]}"); }
SAVE=(--no-epoch-checkpoints)
