# The stages of one row; sourced by run.sh. They read what the experiment and its protocol set:
# ARCH, LR, DURATION, WARM_LR, WARM_DURATION, SAVE, AVERAGE, GENERATE, REMOVE_BPE, TESTS, SCORE, the
# function corpus (sets DATA and PREPARE) and the function training (sets TRAIN).

# By default fairseq drops the last batch, which has the longest sentences, if its size is not a
# multiple of 8: in training, and in validation and generation too.
ALL_SENTENCES=(--required-batch-size-multiple 1)

run_row() {
    corpus
    [ -z "${ON_VALIDATION:-}" ] || TESTS=(valid) # nothing is chosen by a test set
    RUN=$(run_folder "$ROW")
    BASE=${ROW_BASE[$ROW]:-} MODEL_ROW=${ROW_MODEL[$ROW]:-}
    local lock stage names=(prepare train average generate score report)
    if [ -z "$DRY_RUN" ]; then
        mkdir -p "$RUN"
        exec {lock}>"$RUN/lock" # rows that run side by side may start from the same base
        flock --nonblock "$lock" || {
            echo "$RUN is being worked on by another run, or by a process that one has left behind:" \
                "waiting for it to end" >&2
            flock "$lock"
        }
    fi
    for ((stage = FIRST; stage <= LAST; stage++)); do
        heading "$EXPERIMENT/$PAIR/$ROW, seed $SEED: ${names[stage - 1]}"
        "${names[stage - 1]}"
    done
    [ -n "$DRY_RUN" ] || exec {lock}>&-
}

# run_folder ROW: print the folder of a row of this protocol, pair and seed.
run_folder() {
    echo "$RUNS/$PROTOCOL/$PAIR/$1/seed$SEED"
}

# show COMMAND...: print it as it could be typed in the repository's root, one option per line.
show() {
    local word line=""
    for word in "$@"; do
        if [[ $word == --* && -n $line ]]; then
            printf '%s \\\n' "$line"
            line="   "
        fi
        word=${word#"$ROOT/"}
        [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
        line+="${line:+ }$word"
    done
    printf '%s\n' "$line"
}

# placeless TEXT: print a command without the paths of the runs and the repository, which may move.
placeless() {
    local text=${1//"$RUNS/"/RUNS/}
    printf '%s\n' "${text//"$ROOT/"/}"
}

# step NAME INPUT MADE COMMAND...: run a command and write its output to RUN/NAME.log, unless the
# file MADE exists, and RUN/NAME.done holds the command and is newer than the file INPUT. NEEDS may
# name a file that the command needs, which may have been removed since.
step() {
    local name=$1 input=$2 made=$3 log=$RUN/$1.log marker=$RUN/$1.done
    shift 3
    if [ -n "$DRY_RUN" ]; then
        show "$@"
    elif [ -e "$marker" ] && [ "$(placeless "$(<"$marker")")" = "$(placeless "$*")" ] &&
        [ -e "$made" ] && ! [ "$input" -nt "$marker" ]; then
        echo "done already: $name"
    else
        [ -e "${NEEDS:-/}" ] || fail_without "$name" "$NEEDS"
        rm -f "$marker"
        if ! "$@" >"$log.part" 2>&1; then
            tail -n 3 "$log.part" >&2
            fail "$name failed: see $log.part"
        fi
        mv "$log.part" "$log"
        placeless "$*" >"$marker"
    fi
}

# fail_without NAME FILE: fail because the step NAME needs a checkpoint that is no longer there.
fail_without() {
    fail "$1 needs $2, which was removed once the row was scored: delete $RUN to train it again"
}

# Remove the checkpoints of a row that is scored, if the caller wants that: a table has hundreds, of
# up to 270 MB each with the optimizer's state. An average stays.
remove_checkpoints() {
    [ -n "$DRY_RUN" ] || [ -z "${WITHOUT_CHECKPOINTS:-}" ] || rm -f "$RUN"/checkpoint*.pt
}

# Rows that run side by side share a corpus, whose script locks its folder.
prepare() {
    if [ -n "$DRY_RUN" ]; then
        show "${PREPARE[@]}"
    else
        (cd "$ROOT" && "${PREPARE[@]}")
    fi
}

# Print an identifier of the corpus: a training is not continued with another one.
corpus_id() {
    cat "$DATA"/bin/dict.*.txt "$DATA"/bin/train.*.idx | sha256sum | cut -c 1-16
}

# Print an identifier of the weights in a checkpoint. The file also says when they were trained, so
# another training from the same start may give the same weights in a different file.
weights_id() {
    python "$RECIPES/weights_id.py" "$1"
}

# take_model ROW: train the row ROW, and link what this row, which is only decoded differently, has
# in common with it.
take_model() {
    # Not "( ... ) || exit": a command before || runs without -e.
    (ROW=$1 FIRST=2 LAST=3 && run_row)
    local link=(ln -f "$(run_folder "$1")"/{train.{command,log,done},average.{log,done,pt}} "$RUN/")
    if [ -n "$DRY_RUN" ]; then show "${link[@]}"; else "${link[@]}"; fi
}

train() {
    local status=0 command wanted longest most warm=()
    if [ -n "$MODEL_ROW" ]; then
        take_model "$MODEL_ROW"
        return
    elif [ -n "$BASE" ]; then
        (ROW=$BASE FIRST=2 LAST=3 && run_row) # without ||, as in take_model
        LR=$WARM_LR DURATION=("${WARM_DURATION[@]}") WARMUP=${WARM_WARMUP:-${WARMUP:-}}
        warm=(--finetune-from-model "$(run_folder "$BASE")/average.pt")
    fi
    training
    command=(
        $LAUNCHER "$(program fairseq-train)" "$DATA/bin" --user-dir "$ROOT/fairseq_floater"
        --arch "$ARCH" $(dynamics) ${ROW_FLAGS[$ROW]} "${TRAIN[@]}" "${ALL_SENTENCES[@]}" "${warm[@]}"
        --seed "$SEED" --update-epoch-batch-itr True "${SAVE[@]}"
        --log-format simple --log-interval 100 --num-workers 0 --save-dir "$RUN" $EXTRA
    )
    if [ -n "$DRY_RUN" ]; then
        show $ONE_GPU "${command[@]}"
        return
    fi
    [ -d "$DATA/bin" ] || fail "no $DATA/bin to train on: begin with --stage 1, which makes it"
    # All but the duration: a training may be continued for longer than was first wanted.
    wanted="${command[*]} # corpus $(corpus_id)"
    [ -z "$BASE" ] || wanted+=", base $(weights_id "$(run_folder "$BASE")/average.pt" | cut -c 1-16)"
    wanted=$(placeless "${wanted/" ${DURATION[*]}"/}")
    require_same_training "$wanted"
    if is_trained; then
        echo "done already: train"
        return
    fi
    longest=$(longest_training)
    most=$(updates <<<"${command[*]}") # the last, which counts; empty if the duration is in epochs
    [ "$longest" -le "${most:-$longest}" ] || fail "$RUN was trained for up to $longest" \
        "updates, $most are wanted: choose another --runs folder, or delete it to train again"
    [ ! -e "$RUN/average.done" ] || [ -n "$(newest "$RUN"/checkpoint*.pt)" ] ||
        fail_without train "$RUN/checkpoint_last.pt"
    # Written only once: on a full disk, writing it again would leave it empty.
    if [ ! -s "$RUN/train.command" ]; then
        echo "$wanted" >"$RUN/train.command.part" && mv "$RUN/train.command"{.part,} ||
            fail "$RUN/train.command cannot be written: make room, then run again"
    fi
    [ -z "$(tail -c 1 "$RUN/train.log" 2>/dev/null)" ] || echo >>"$RUN/train.log" # a line was cut off
    echo "code: $(revision), preloaded: $(preloaded)" >>"$RUN/train.log"
    "${command[@]}" 2>&1 | tee -a "$RUN/train.log" | progress || status=$?
    if [ $status -ne 0 ]; then
        tail -n 3 "$RUN/train.log" >&2
        fail "training stopped: see $RUN/train.log, then run again to continue"
    fi
    echo "${DURATION[*]}" >"$RUN/train.done"
}

# Print the library that was preloaded; none if the variable is a space, see evidence.sh.
preloaded() {
    if [[ ${LD_PRELOAD:-} =~ [^[:space:]] ]]; then basename "$LD_PRELOAD"; else echo nothing; fi
}

# Print the version of the code: a commit, and whether files were changed since.
revision() {
    git -C "$ROOT" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown
}

# require_same_training WANTED: fail if RUN holds a training by another command.
require_same_training() {
    [ ! -s "$RUN/train.command" ] || [ "$(placeless "$(<"$RUN/train.command")")" = "$1" ] ||
        fail "$RUN was trained with another command, corpus or base model (see its train.command):" \
            "choose another --runs folder, or delete it to train again"
}

# Print the protocol's flags for trajectories of a learned function; the row's own flags follow.
dynamics() {
    case " ${ROW_FLAGS[$ROW]} " in *" floater "* | *" rnn "* | *" fourier "*) echo "$DYNAMICS" ;; esac
}

# Print the number after --max-update in standard input.
updates() {
    sed -n 's/.*--max-update \([0-9]*\).*/\1/p'
}

# Print the most updates that RUN has reached, by its log or by what it has finished; 0 if none.
longest_training() {
    {
        echo 0
        updates <"$RUN/train.done" || true
        sed -n 's/.*num_updates[= ]\([0-9]*\).*/\1/p' "$RUN/train.log" || true
    } 2>/dev/null | sort -n | tail -n 1
}

is_trained() {
    [ "$(cat "$RUN/train.done" 2>/dev/null)" = "${DURATION[*]}" ]
}

# program NAME: print it, or with a launcher its path, since not every launcher searches PATH.
program() {
    if [ -z "$LAUNCHER" ]; then
        echo "$1"
    elif [ -n "$DRY_RUN" ]; then
        echo ".venv/bin/$1"
    else
        command -v "$1"
    fi
}

# Show a training log as a short line for every 100 updates and for every validation.
progress() {
    sed -un -e "s/.*train_inner.* loss=\([0-9.]*\),.*wps=\([0-9.]*\),.*num_updates=\([0-9]*\),.*/  $ROW: update \3, loss \1, \2 words per second/p" \
        -e "s/.*valid on .* nll_loss \([0-9.]*\) | ppl \([0-9.]*\) .*num_updates \([0-9]*\).*/  $ROW: validation at update \3: perplexity \2/p"
}

average() {
    [ -z "$MODEL_ROW" ] || return 0
    step average "$RUN/train.done" "$RUN/average.pt" \
        floater average "$RUN" --last "$AVERAGE" --out "$RUN/average.pt"
}

# newest FILE...: print the one that changed last, of those that exist.
newest() {
    local file found=""
    for file in "$@"; do
        [ ! -e "$file" ] || { [ -n "$found" ] && [ ! "$file" -nt "$found" ]; } || found=$file
    done
    echo "$found"
}

generate() {
    local number subset flags=()
    [ -z "$MODEL_ROW" ] || flags=(${ROW_FLAGS[$ROW]})
    for number in "${!TESTS[@]}"; do
        subset=test${number#0} # test, test1, test2, ...
        [ "${TESTS[number]}" != valid ] || subset=valid
        step "generate.${TESTS[number]}" "$(newest "$RUN/average.done" "$DATA/bin/$subset".*.idx)" \
            "$RUN/generate.${TESTS[number]}.log" \
            fairseq-generate "$DATA/bin" --user-dir "$ROOT/fairseq_floater" \
            --path "$RUN/average.pt" --gen-subset "$subset" "${GENERATE[@]}" \
            --remove-bpe "$REMOVE_BPE" "${ALL_SENTENCES[@]}" --num-workers 0 "${flags[@]}"
    done
}

# Print the place of the row in its table.
order() {
    local number
    for number in "${!ROWS[@]}"; do [ "${ROWS[number]}" != "$ROW" ] || echo "$number"; done
}

score() {
    local tests stack picture
    tests=$(IFS=, && echo "${TESTS[*]}")
    step "score.$EXPERIMENT" "$(newest "$RUN"/generate.*.done)" \
        "$RUNS/$EXPERIMENT/$PAIR.$ROW.seed$SEED.json" \
        floater score "$RUN" --data "$DATA" --name "$EXPERIMENT/$PAIR/$ROW" --seed "$SEED" \
        --checkpoint "$RUN/average.pt" --tests "$tests" --order "$(order)" \
        "${SCORE[@]}" --out "$RUNS/$EXPERIMENT"
    [ -n "$DRY_RUN" ] || cat "$RUN/score.$EXPERIMENT.log"
    remove_checkpoints
    [ -z "${HEATMAPS:-}" ] || for stack in encoder decoder; do
        picture=$RUNS/$EXPERIMENT/$PAIR.$ROW.seed$SEED.$stack.png
        step "heatmap.$stack" "$RUN/average.done" "$picture" \
            floater heatmap "$RUN/average.pt" "$picture" --stack "$stack"
    done
}

# RECORDS may name a folder of records other than that of the runs.
report() {
    local folder=${RECORDS:-$RUNS}/$EXPERIMENT records
    local command=(floater report "$folder" --out "$folder/table" --title "$TITLE")
    # If a row was run alone, there is nothing to test it against.
    records=("$folder"/*."$BASELINE".seed*.json)
    if [ -n "$DRY_RUN" ] || [ -e "${records[0]}" ]; then
        command+=(--baseline "$BASELINE")
    else
        echo "no results of the baseline $BASELINE yet: the table has no tests of significance"
    fi
    if [ -n "$DRY_RUN" ]; then show "${command[@]}"; else "${command[@]}"; fi
    [ -z "${HEATMAPS:-}" ] || for PAIR in ${PAIR:-"${PAIRS[@]}"}; do compare_heatmaps; done
}

# Figure 3: the encodings of all rows that have been trained, side by side.
compare_heatmaps() {
    local row stack command checkpoints=()
    SEED=${SEED:-${SEEDS[0]}}
    for row in "${ROWS[@]}"; do
        [ ! -e "$(run_folder "$row")/average.pt" ] || checkpoints+=("$(run_folder "$row")/average.pt")
    done
    for stack in encoder decoder; do
        command=(
            floater heatmap "${checkpoints[@]}" "$RUNS/$EXPERIMENT/$PAIR.$stack.png"
            --stack "$stack"
        )
        if [ ${#checkpoints[@]} -lt 2 ]; then
            continue
        elif [ -n "$DRY_RUN" ]; then
            show "${command[@]}"
        else
            "${command[@]}"
        fi
    done
}
