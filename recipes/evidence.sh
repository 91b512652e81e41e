#!/usr/bin/env bash
# Train and score what recipes/evidence.txt lists and recipes/results does not have, in that order.
#
#   bash recipes/evidence.sh              until all is there; safe to stop, and to start again
#
#   --jobs N           rows to run side by side, on a core each (default: 2)
#   --runs FOLDER      where trainings lie (default: runs)
#   --most N           end after N rows
#   --list             what is missing, and run nothing
#   --tables           the tables of all experiments in the list, and train nothing
#   EVIDENCE=FILE      another list, such as recipes/understanding.txt
#
# On a processor of AMD with a C compiler, MKL is made to use AVX-512, see mkl_avx512.c; LD_PRELOAD
# chooses another library, or none if it is a space. What a row scored is copied to
# recipes/results/EXPERIMENT, and the weights of a fine-tuned model are then removed. A row that
# another run is working on is passed over; one that fails is, too, and counted at the end, when
# table.md of every experiment with newer results is made anew.
set -euo pipefail
unset CDPATH # by which cd prints, or leads elsewhere
RECIPES=$(cd "$(dirname "$0")" && pwd)
source "$RECIPES/common.sh"

JOBS=2 RUNS=$ROOT/runs MOST="" LIST="" TABLES=""
while [ $# -gt 0 ]; do
    case $1 in
    --jobs | --runs | --most)
        [ $# -gt 1 ] || fail "$1 needs a value: see --help"
        case $1 in
        --jobs) JOBS=$2 ;;
        --runs) RUNS=$(realpath -ms "$2") ;;
        --most) MOST=$2 ;;
        esac
        shift
        ;;
    --list) LIST=1 ;;
    --tables) TABLES=1 ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" && exit ;;
    *) fail "unknown option $1: see --help" ;;
    esac
    shift
done
for option in jobs:$JOBS most:$MOST; do
    [[ ${option#*:} =~ ^([1-9][0-9]*)?$ ]] ||
        fail "--${option%:*} must be a whole number >= 1, got ${option#*:}"
done

EVIDENCE=${EVIDENCE:-$RECIPES/evidence.txt}
[ -r "$EVIDENCE" ] || fail "no list $EVIDENCE: EVIDENCE names a file of rows"

# listed: the list, "EXPERIMENT/PAIR/ROW SEEDS".
listed() {
    grep -v '^#' "$EVIDENCE"
}

# missing: rows and seeds without a result, a line each, "EXPERIMENT/PAIR/ROW SEED".
missing() {
    local target seeds seed experiment pair row
    while read -r target seeds; do
        IFS=/ read -r experiment pair row <<<"$target"
        for seed in $seeds; do
            [ -e "$RECIPES/results/$experiment/$pair.$row.seed$seed.json" ] || echo "$target $seed"
        done
    done < <(listed)
}

# keep FILE...: copy each to the results of its experiment, whole or not at all.
keep() {
    local file kept
    for file; do
        [[ -e $file || $file != *.ref ]] || continue # there are none of labels
        kept=$RECIPES/results/${file#"$RUNS/"}
        # Rows that run side by side share references.
        cp "$file" "$kept.part$$" && mv "$kept.part$$" "$kept" || { rm -f "$kept.part$$"; return 1; }
    done
}

# run_one TARGET SEED: a row to its scores, and its record to the results.
run_one() {
    local experiment pair row log
    IFS=/ read -r experiment pair row <<<"$1"
    log=$RUNS/evidence/$experiment.$pair.$row.seed$2
    exec 9>"$log.lock"
    flock --nonblock 9 || return 0
    echo "$1, seed $2: see $log.log"
    bash "$RECIPES/run.sh" "$1" --seed "$2" --runs "$RUNS" --stop-stage 5 >"$log.log" 2>&1 9>&- || {
        echo "$1, seed $2: failed: $(tail -n 1 "$log.log")" >&2
        return 1
    }
    mkdir -p "$RECIPES/results/$experiment"
    keep "$RUNS/$experiment/$pair".*.ref "$RUNS/$experiment/$pair.$row.seed$2.json" || {
        echo "$1, seed $2: failed: what it scored could not be kept, see above" >&2
        return 1
    }
    echo "$1, seed $2: done"
}

# unshown: of the experiments in the list those whose table is older than a result, or is not there,
# as after a run that was stopped.
unshown() {
    local experiment
    for experiment in $(listed | cut -d / -f 1 | sort -u); do
        [ -z "$(find "$RECIPES/results/$experiment" -name '*.json' \
            -newer "$RECIPES/results/$experiment/table.md" 2>&1 | head -n 1)" ] || echo "$experiment/"
    done
}

# tables ROWS: of their experiments, as far as these have results.
tables() {
    local experiment
    for experiment in $(cut -d / -f 1 <<<"$1" | sort -u); do
        ! compgen -G "$RECIPES/results/$experiment/*.json" >/dev/null ||
            RECORDS=$RECIPES/results bash "$RECIPES/run.sh" "$experiment" --runs "$RUNS" --stage 6 ||
            status=1
    done
}

if [ -n "$LIST" ]; then
    missing
    exit
fi
setup_environment
status=0
if [ -n "$TABLES" ]; then
    tables "$(listed)"
    exit $status
fi
mkdir -p "$RUNS/evidence"
export OMP_NUM_THREADS=1 WITHOUT_CHECKPOINTS=1
use_avx512
export -f run_one keep
export RECIPES RUNS
# (sed reads all of it, where head would end missing by a signal.)
rows=$(missing | sed -n "1,${MOST:-\$}p")
xargs -r -P "$JOBS" -L 1 bash -c 'run_one "$0" "$1"' <<<"$rows" || status=$?
tables "$rows
$(unshown)"
[ $status -eq 0 ] || fail "some rows failed, see above: run again to go on with what is missing"
