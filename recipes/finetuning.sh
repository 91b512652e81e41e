# The stages of a row that fine-tunes a pre-trained model. Sourced by a protocol, after stages.sh,
# whose stages train and report it uses. No checkpoints are averaged: the model of a row is
# its last checkpoint, and none is chosen by the set that it is scored on. Besides what train reads,
# these stages read from a protocol:
#
#   MODEL              a folder of models
#   PREPARE_MODEL      the command that makes it
#   STAGE1             EXPERIMENT/CORPUS of the first stage; its protocol has the experiment's name
#   prediction TEST    a function that sets PREDICTION, a command, and MADE, the file it writes
#   scoring            a function that sets SCORING, a command without the options all rows share

# Batches are those of one GPU, so only the first visible GPU is used, unless a launcher starts a
# process for each.
if [ -z "$LAUNCHER" ]; then
    CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-0}
    export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES%%,*}
    # Shown before the command, unless the variable is empty, which means that no GPU is wanted.
    ONE_GPU=${CUDA_VISIBLE_DEVICES:+CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES}
fi

prepare() {
    local first=(
        bash recipes/run.sh "$STAGE1/$(first_stage)" --stop-stage 3 --runs "$RUNS"
        ${LAUNCHER:+--launcher "$LAUNCHER"} ${EXTRA_STAGE1:+--train "$EXTRA_STAGE1"}
    )
    if [ -n "$DRY_RUN" ]; then
        show "${PREPARE_MODEL[@]}"
        show "${PREPARE[@]}"
        ! after_first_stage || show "${first[@]}"
    else
        (cd "$ROOT" && "${PREPARE_MODEL[@]}" && "${PREPARE[@]}")
        ! after_first_stage || (cd "$ROOT" && "${first[@]}")
    fi
}

# True if the row starts from a first stage: NAME-stage1, NAME-frozen-stage1, NAME-stage1-VARIANT.
after_first_stage() {
    [[ $ROW- == *-stage1-* ]]
}

# Print the row of that first stage.
first_stage() {
    local name=${ROW%%-stage1*}
    name=${name%-frozen}
    [ "$name" != biases ] || name+=-lr-1e-2
    echo "$name"
}

# Print the learning rate: RATE if the row is named NAME-lr-RATE or NAME-lr-RATE-short, otherwise
# that of the protocol.
rate() {
    case $ROW in
    *-lr-*)
        local rate=${ROW##*-lr-}
        echo "${rate%-short}"
        ;;
    *) echo "$LR" ;;
    esac
}

# Print the checkpoint that the row starts from: the original model, or the model with positions
# that were trained alone.
start() {
    if after_first_stage; then
        echo "$RUNS/$STAGE1/$(first_stage)/seed1/average.pt"
    else
        echo "$MODEL/base/model.pt"
    fi
}

# Print an identifier of the corpus and the model.
corpus_id() {
    (
        shopt -s nullglob # inputs may have folders of their own
        cat "$DATA"/bin/{*/,}dict*.txt "$DATA"/bin/{*/,}train.* </dev/null
        weights_id "$(start)" # not the file, which also says what made it
    ) | sha256sum | cut -c 1-16
}

# Show a training log: the loss by update, and accuracy or whatever else the criterion reports.
progress() {
    sed -un -e "s/.*train_inner.* loss=\([0-9.]*\),.*num_updates=\([0-9]*\),.*/  $ROW: update \2, loss \1/p" \
        -e "s/.*valid on '\([a-z0-9]*\)' subset | \(.*\) | wps .*num_updates \([0-9]*\).*/  $ROW: \1 at update \3: \2/p"
}

average() {
    echo "nothing to average: the last checkpoint is used"
}

generate() {
    local test NEEDS=$RUN/checkpoint_last.pt
    for test in "${TESTS[@]}"; do
        prediction "$test"
        step "predict.$test" "$(newest "$RUN/train.done" "$DATA"/bin/{*/,}"$test".*)" "$MADE" \
            "${PREDICTION[@]}"
    done
}

score() {
    scoring
    local tests NEEDS=$RUN/checkpoint_last.pt
    tests=$(IFS=, && echo "${TESTS[*]}")
    step "score.$EXPERIMENT" "$(newest "$RUN"/predict.*.done)" \
        "$RUNS/$EXPERIMENT/$PAIR.$ROW.seed$SEED.json" \
        "${SCORING[@]}" --name "$EXPERIMENT/$PAIR/$ROW" --seed "$SEED" \
        --checkpoint "$RUN/checkpoint_last.pt" --tests "$tests" --order "$(order)" \
        --out "$RUNS/$EXPERIMENT"
    [ -n "$DRY_RUN" ] || cat "$RUN/score.$EXPERIMENT.log"
    remove_checkpoints
}
