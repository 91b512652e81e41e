# The stages of a row that fine-tunes a pre-trained model; sourced by a protocol, after stages.sh,
# whose stages prepare, train and report it takes. There is no average: the last checkpoint is the
# row's, and none is chosen by the set it is scored on. Of a protocol these read, beside what train
# does:
#
#   MODEL              a folder of models
#   PREPARE_MODEL      the command that makes it
#   STAGE1             EXPERIMENT/CORPUS of the first stage; its protocol has the experiment's name
#   prediction TEST    a function that sets PREDICTION, a command, and MADE, what it writes
#   scoring            a function that sets SCORING, a command without what all rows tell it

# Batches are those of one GPU: of the first that is to be seen, unless a launcher starts a process
# for each.
if [ -z "$LAUNCHER" ]; then
    CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-0}
    export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES%%,*}
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
        mkdir -p "$(dirname "$DATA")" "$(dirname "$MODEL")"
        (cd "$ROOT" && flock "$MODEL.lock" "${PREPARE_MODEL[@]}" && flock "$DATA.lock" "${PREPARE[@]}")
        ! after_first_stage || (cd "$ROOT" && "${first[@]}")
    fi
}

# Whether a row starts from a first stage: NAME-stage1, NAME-frozen-stage1, NAME-stage1-VARIANT.
after_first_stage() {
    [[ $ROW- == *-stage1-* ]]
}

# The row of that first stage.
first_stage() {
    local name=${ROW%%-stage1*}
    name=${name%-frozen}
    [ "$name" != biases ] || name+=-lr-1e-2
    echo "$name"
}

# The learning rate: that of a row called NAME-lr-RATE or NAME-lr-RATE-short, or the protocol's.
rate() {
    case $ROW in
    *-lr-*)
        local rate=${ROW##*-lr-}
        echo "${rate%-short}"
        ;;
    *) echo "$LR" ;;
    esac
}

# What a row starts from: the model as it was, or with positions that have been trained alone.
start() {
    if after_first_stage; then
        echo "$RUNS/$STAGE1/$(first_stage)/seed1/average.pt"
    else
        echo "$MODEL/base/model.pt"
    fi
}

# What the corpus and the model are, in a line.
corpus_id() {
    (
        shopt -s nullglob # inputs may have folders of their own
        cat "$DATA"/bin/{*/,}dict*.txt "$DATA"/bin/{*/,}train.* </dev/null
        weights_id "$(start)" # and not the file, which also says what made it
    ) | sha256sum | cut -c 1-16
}

# By update, accuracy or whatever the criterion reports.
progress() {
    sed -un -e "s/.*train_inner.* loss=\([0-9.]*\),.*num_updates=\([0-9]*\),.*/  $ROW: update \2, loss \1/p" \
        -e "s/.*valid on '\([a-z0-9]*\)' subset | \(.*\) | wps .*num_updates \([0-9]*\).*/  $ROW: \1 at update \3: \2/p"
}

average() {
    echo "no average: the last checkpoint is the row's"
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
    # A table has hundreds, of 270 MB each with the optimizer's state.
    [ -n "$DRY_RUN" ] || [ -z "${WITHOUT_CHECKPOINTS:-}" ] || rm -f "$RUN"/checkpoint_*.pt
}
