# The stages of a row that trains positions alone, on masked words, while the rest is frozen: the
# first stage of the paper. Sourced by a protocol, after finetuning.sh. Nothing is predicted; records
# and the report have the losses on the validation set. How useful a row is for a task shows when it
# is fine-tuned. The frozen part needs no dropout, which took half of the time.
TESTS=()
corpus() {
    DATA=$RUNS/data/$PAIR${PIECES:+.$PIECES}
    PREPARE=(bash data-prep/wikitext.sh --corpus "$PAIR" --model "$MODEL/base" --out "$DATA")
}
# A row named NAME-short learns from blocks of whole sentences of up to 64 pieces instead of 512, and
# from eight times as many blocks per update. They are less full, so an update has fewer pieces.
# Longer sentences are left out, also from the validation set. --max-positions keeps the model's own
# table.
training() {
    local updates=${DURATION[1]} length=512 short=()
    if [[ $ROW == *-short ]]; then
        length=64 short=(--max-positions 512 --skip-invalid-size-inputs-valid-test)
    fi
    TRAIN=(
        --task masked_lm --criterion masked_lm
        --dropout 0 --attention-dropout 0
        --sample-break-mode complete --tokens-per-sample "$length" "${short[@]}" --mask-prob 0.15
        --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-06 --weight-decay 0.01
        --lr "$(rate)" --lr-scheduler polynomial_decay --total-num-update "$updates"
        --warmup-updates $((updates * 6 / 100)) --batch-size $((8 * 512 / length)) "${DURATION[@]}"
    )
    [ -n "$BASE" ] || TRAIN+=(--finetune-from-model "$MODEL/base/model.pt")
}
SAVE=(--no-epoch-checkpoints)
# No checkpoints are averaged: the last one is used.
average() {
    step average "$RUN/train.done" "$RUN/average.pt" cp "$RUN/checkpoint_last.pt" "$RUN/average.pt"
}
generate() { echo "nothing to predict"; }
score() {
    step "score.$EXPERIMENT" "$RUN/train.done" "$RUNS/$EXPERIMENT/$PAIR.$ROW.seed$SEED.json" \
        floater score-labels "$RUN" --name "$EXPERIMENT/$PAIR/$ROW" --seed "$SEED" \
        --checkpoint "$RUN/average.pt" --order "$(order)" --out "$RUNS/$EXPERIMENT"
}
