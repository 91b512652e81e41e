#!/usr/bin/env bash
# Reproduce a table or a figure, or one row of it: corpus, training, averaging, decoding, scores.
#
#   bash recipes/run.sh table2_tiny                          every row, language pair and seed
#   bash recipes/run.sh table2_tiny/en-de/floater-all        one row, its first seed
#   bash recipes/run.sh table2_tiny/en-de/floater-all --seed 2 --stage 4
#
#   --list             list the experiments, or the rows of the one that is named
#   --seed N           seed of the rows (default: all of theirs; of one row, its first); rows with
#                      seeds of their own, such as base-again, are left out unless named
#   --stage N          first stage, and --stop-stage N the last (default: all): 1 prepare, 2 train,
#                      3 average, 4 generate, 5 score, 6 report
#   --jobs N           rows to run side by side, each on its share of the cores (default: 1)
#   --launcher "..."   command before fairseq-train, such as "torchrun --nproc_per_node 8" or "srun"
#                      (on several nodes also --train "--distributed-port 29500", see docs/recipes.md)
#   --train "..."      more flags for fairseq-train, such as "--fp16"; for the first stage of a
#                      fine-tuned row, --train-stage1 "..."
#   --runs FOLDER      where everything is written (default: runs)
#   --dry-run          print the commands and run nothing
#   RECORDS=FOLDER     report on FOLDER/EXPERIMENT; FOLDER may be recipes/results
#
# An experiment is a file in recipes/configs; it names its rows and a file in recipes/protocols,
# which has the corpus and the flags of fairseq. Rows are trained once for each protocol, even if
# several experiments show them. What is done is not done again; what was interrupted continues.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
RECIPES=$(cd "$(dirname "$0")" && pwd)
source "$RECIPES/common.sh"
source "$RECIPES/stages.sh"

# Experiments and protocols may set these, and a variable of the environment must not stand in for one
# that they leave unset. (RATES is for whoever calls an experiment named *_lr.)
unset BUCKETS FEW_BUCKETS PIECES HOLD_OUT DOUBLE ON_VALIDATION HEATMAPS WARMUP WARM_WARMUP NEEDS
DYNAMICS="" ONE_GPU=""
TARGET="" SEED="" FIRST=1 LAST=6 JOBS=1 LAUNCHER="" EXTRA="" EXTRA_STAGE1="" RUNS=$ROOT/runs
DRY_RUN="" LIST=""
while [ $# -gt 0 ]; do
    case $1 in
    --seed | --stage | --stop-stage | --jobs | --launcher | --train | --train-stage1 | --runs)
        [ $# -gt 1 ] || fail "$1 needs a value: see --help"
        case $1 in
        --seed) SEED=$2 ;;
        --stage) FIRST=$2 ;;
        --stop-stage) LAST=$2 ;;
        --jobs) JOBS=$2 ;;
        --launcher) LAUNCHER=$2 ;;
        --train) EXTRA=$2 ;;
        --train-stage1) EXTRA_STAGE1=$2 ;;
        --runs) RUNS=$(realpath -ms -- "$2") ;;
        esac
        shift
        ;;
    --dry-run) DRY_RUN=1 ;;
    --list) LIST=1 ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" && exit ;;
    -*) fail "unknown option $1: see --help" ;;
    *) [ -z "$TARGET" ] && TARGET=$1 || fail "name one experiment or row at a time, got $TARGET and $1" ;;
    esac
    shift
done
require_number --seed "${SEED:-1}"
require_number --stage "$FIRST"
require_number --stop-stage "$LAST"
require_number --jobs "$JOBS"
[ "$FIRST" -le "$LAST" ] && [ "$LAST" -le 6 ] || fail "stages run from 1 to 6, got $FIRST to $LAST"

# Besides setting variables, a file in recipes/configs may say: row NAME FLAGS...;
# warm_row NAME BASE FLAGS... for a row that starts from the averaged checkpoint of the row BASE;
# and decoded_row NAME BASE FLAGS... for the model of the translation row BASE, decoded with these
# flags of fairseq-generate. The record of a decoded row has the options and the loss of BASE, and
# the flags in its commands. ROW_SEEDS[NAME] has the seeds of a row, if they are not those of the
# experiment. With ON_VALIDATION=1 rows are scored on the validation set.
declare -a ROWS=()
declare -A ROW_FLAGS=() ROW_BASE=() ROW_SEEDS=() ROW_MODEL=()
row() {
    ROWS+=("$1")
    ROW_FLAGS[$1]=${*:2}
}
warm_row() {
    row "$1" "${@:3}"
    ROW_BASE[$1]=$2
}
decoded_row() {
    row "$1" "${@:3}"
    ROW_MODEL[$1]=$2
}
experiments() {
    local path
    for path in "$RECIPES"/configs/*.sh; do basename "$path" .sh; done
}

IFS=/ read -r EXPERIMENT PAIR ROW REST <<<"$TARGET"
if [ -z "$EXPERIMENT" ]; then
    [ -n "$LIST" ] || fail "name an experiment: one of $(experiments | paste -sd ' ')"
    experiments
    exit
fi
[ -f "$RECIPES/configs/$EXPERIMENT.sh" ] ||
    fail "no experiment $EXPERIMENT: choose from $(experiments | paste -sd ' ')"
source "$RECIPES/configs/$EXPERIMENT.sh"
source "$RECIPES/protocols/$PROTOCOL.sh"
[ -z "$PAIR" ] || [[ " ${PAIRS[*]} " == *" $PAIR "* ]] ||
    fail "no language pair $PAIR in $EXPERIMENT: choose from ${PAIRS[*]}"
[ -z "$ROW" ] || [[ " ${ROWS[*]} " == *" $ROW "* ]] ||
    fail "no row $ROW in $EXPERIMENT: choose from ${ROWS[*]}"
[ -n "$PAIR" ] || [ -z "$ROW" ] || fail "$TARGET has no language pair: name EXPERIMENT/PAIR/ROW"
[ -z "$REST" ] || fail "$TARGET has a part too many: name EXPERIMENT/PAIR/ROW"

# seeds_of ROW: print its seeds, which are the experiment's if it has none of its own.
seeds_of() {
    echo "${ROW_SEEDS[$1]:-${SEEDS[*]}}"
}

# is_wanted ROW SEED: true if that is asked for.
is_wanted() {
    if [ -z "$SEED" ]; then
        [[ " $(seeds_of "$1") " == *" $2 "* ]]
    else
        [ -n "$ROW" ] || [ -z "${ROW_SEEDS[$1]:-}" ]
    fi
}

# every_row: print what was asked for, "EXPERIMENT/PAIR/ROW SEED" on each line.
every_row() {
    local seed pair row
    for seed in ${SEED:-$(printf '%s\n' ${SEEDS[*]} ${ROW_SEEDS[*]} | sort -nu)}; do
        for pair in ${PAIR:-${PAIRS[@]}}; do
            for row in ${ROW:-${ROWS[@]}}; do
                ! is_wanted "$row" "$seed" || echo "$EXPERIMENT/$pair/$row $seed"
            done
        done
    done
}
if [ -n "$LIST" ]; then
    every_row
    exit
fi
[ -n "$DRY_RUN" ] || setup_environment
if [ -n "$ROW" ]; then
    read -r first _ <<<"$(seeds_of "$ROW")"
    SEED=${SEED:-$first}
    run_row
    exit
fi

THREADS=$(($(nproc) / JOBS))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((THREADS > 0 ? THREADS : 1))}
options=(
    --runs "$RUNS" --launcher "$LAUNCHER" --train "$EXTRA" --train-stage1 "$EXTRA_STAGE1"
    ${DRY_RUN:+--dry-run}
)
LAST_OF_ROW=$((LAST < 5 ? LAST : 5))
status=0
if [ -n "$DRY_RUN" ] && [ "$FIRST" -le 5 ]; then
    while read -r target seed; do
        IFS=/ read -r _ pair row <<<"$target"
        (PAIR=$pair ROW=$row SEED=$seed LAST=$LAST_OF_ROW && run_row)
    done < <(every_row)
elif [ "$FIRST" -le 5 ]; then
    side_by_side "$JOBS" bash -c 'exec bash "$0" "${@: -2:1}" --seed "${@: -1}" "${@:1:$#-2}"' \
        "$RECIPES/run.sh" "${options[@]}" --stage "$FIRST" --stop-stage "$LAST_OF_ROW" \
        < <(every_row) || status=$?
fi
[ "$LAST" -lt 6 ] || report
[ $status -eq 0 ] || fail "some rows failed, see above: run again to continue with what is missing"
