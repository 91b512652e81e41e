# Questions with options to choose from, with a small pre-trained model: MiniLM, as
# data-prep/minilm.sh gets it. Batch and weight decay are those of fairseq for RACE, with three epochs
# instead of its five. The learning rate is that of glue_minilm, with a warm-up.
source "$RECIPES/finetuning.sh"
source "$RECIPES/minilm.sh"
SCHEDULER=polynomial_decay BATCH=16 EPOCHS=3
corpus() {
    DATA=$RUNS/data/$PAIR${PIECES:+.$PIECES}
    PREPARE=(bash data-prep/race.sh --corpus "$PAIR" --model "$MODEL/base" --out "$DATA")
    TESTS=(test test1)
    case $PAIR in # questions of the training set
    race) QUESTIONS=87866 ;;
    mctest) QUESTIONS=1480 ;;
    esac
    UPDATES=$(((QUESTIONS + BATCH - 1) / BATCH * EPOCHS))
    DURATION=(--max-update "$UPDATES")
    SCHEDULE=(--lr-scheduler "$SCHEDULER")
    [ "$SCHEDULER" = fixed ] ||
        SCHEDULE+=(--total-num-update "$UPDATES" --warmup-updates $((UPDATES * 6 / 100)))
}
training() {
    TRAIN=(
        --task floater_multiple_choice --criterion multiple_choice --max-positions 512 ${DOUBLE:-}
        --finetune-from-model "$(start)" --find-unused-parameters
        --dropout 0.1 --attention-dropout 0.1
        --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-06 --weight-decay 0.01
        --lr "$LR" "${SCHEDULE[@]}" --batch-size 2 --update-freq $((BATCH / 2))
        "${DURATION[@]}"
    )
}
prediction() {
    MADE=$RUN/predict.$1.tsv
    PREDICTION=(
        floater predict "$RUN/checkpoint_last.pt" "$DATA/bin" --subset "$1" --out "$MADE"
    )
}
scoring() { SCORING=(floater score-labels "$RUN" --metrics accuracy); }
SAVE=(--no-epoch-checkpoints)
