# The first stage of the paper with MiniLM: FLOATER alone learns from text, by masked words, and the
# rest rests. MiniLM comes without a head that tells words: it is trained first, and rests then, too.
# Nothing is predicted; records and the report have the losses on the validation set, and what a row is
# worth for a task shows when it is fine-tuned.
source "$RECIPES/finetuning.sh"
source "$RECIPES/minilm.sh"
UPDATES=${UPDATES:-300}
LR=1e-3 WARM_LR=$LR
DURATION=(--max-update "$UPDATES")
WARM_DURATION=("${DURATION[@]}")
TESTS=()
corpus() {
    DATA=$RUNS/data/$PAIR${PIECES:+.$PIECES}
    PREPARE=(bash data-prep/wikitext.sh --corpus "$PAIR" --model "$MODEL/base" --out "$DATA")
}
training() {
    TRAIN=(
        --task masked_lm --criterion masked_lm
        --sample-break-mode complete --tokens-per-sample 512 --mask-prob 0.15
        --dropout 0.1 --attention-dropout 0.1
        --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-06 --weight-decay 0.01
        --lr "$LR" --lr-scheduler polynomial_decay --total-num-update "$UPDATES"
        --warmup-updates $((UPDATES * 6 / 100)) --batch-size 8 "${DURATION[@]}"
    )
    [ -n "$BASE" ] || TRAIN+=(--finetune-from-model "$MODEL/base/model.pt")
}
SAVE=(--no-epoch-checkpoints)
# There is no mean of checkpoints: the last one is what goes on.
average() {
    step average "$RUN/train.done" "$RUN/average.pt" cp "$RUN/checkpoint_last.pt" "$RUN/average.pt"
}
generate() { echo "nothing to predict"; }
score() {
    step "score.$EXPERIMENT" "$RUN/train.done" "$RUNS/$EXPERIMENT/$PAIR.$ROW.seed$SEED.json" \
        floater score-labels "$RUN" --name "$EXPERIMENT/$PAIR/$ROW" --seed "$SEED" \
        --checkpoint "$RUN/average.pt" --order "$(order)" --out "$RUNS/$EXPERIMENT"
}
report() {
    local row logs=()
    SEED=${SEED:-${SEEDS[0]}}
    for PAIR in ${PAIR:-"${PAIRS[@]}"}; do
        logs=()
        for row in "${ROWS[@]}"; do
            [ ! -e "$(run_folder "$row")/train.log" ] || logs+=("$row=$(run_folder "$row")/train.log")
        done
        [ ${#logs[@]} -eq 0 ] || python "$RECIPES/curves.py" "${logs[@]}" --out "$RUNS/$EXPERIMENT/$PAIR"
    done
}
