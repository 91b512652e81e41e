#!/usr/bin/env bash
# Train and score the rows of recipes/evidence.txt that recipes/results lacks, in that order.
#
#   bash recipes/evidence.sh              run until all are there; safe to stop and start again
#
#   --jobs N           rows to run side by side, on a core each (default: 2)
#   --runs FOLDER      the folder of the trainings (default: runs)
#   --most N           end after N rows
#   --list             list what is missing, and run nothing
#   --tables           make the tables of all experiments in the list, and train nothing
#   EVIDENCE=FILE      use another list, such as recipes/understanding.txt
#
# On an AMD processor with a C compiler, MKL is made to use AVX-512 (see mkl_avx512.c). LD_PRELOAD
# chooses another library, or none if it is a space. The scores of a row are copied to
# recipes/results/EXPERIMENT, and its checkpoints are then removed, except an average and those of a
# first stage on masked words. A row that another run is working on is skipped. So is a row that
# fails, which the end of the run reports. At the end, table.md of every experiment with newer results
# is made again.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
RECIPES=$(cd "$(dirname "$0")" && pwd)
source "$RECIPES/common.sh"

JOBS=2 RUNS=$ROOT/runs MOST="" LIST="" TABLES=""
while [ $# -gt 0 ]; do
    case $1 in
    --jobs | --runs | --most)
        [ $# -gt 1 ] || fail "$1 needs a value: see --help"
        case $1 in
        --jobs) JOBS=$2 ;;
        --runs) RUNS=$(realpath -ms -- "$2") ;;
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
require_number --jobs "$JOBS"
require_number --most "${MOST:-1}"

EVIDENCE=${EVIDENCE:-$RECIPES/evidence.txt}
[ -r "$EVIDENCE" ] && [ ! -d "$EVIDENCE" ] || fail "no list $EVIDENCE: set EVIDENCE to a file of rows"

# listed: print the list, "EXPERIMENT/PAIR/ROW SEEDS" on each line. A # begins a comment.
listed() {
    sed 's/\r$//; s/#.*//; /^[[:space:]]*$/d' "$EVIDENCE"
}

# missing: print the rows and seeds without a result, "EXPERIMENT/PAIR/ROW SEED" on each line.
missing() {
    local target seeds seed experiment pair row
    while read -r target seeds || [ -n "$target" ]; do
        [[ $target =~ ^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+){2}$ ]] ||
            fail "$EVIDENCE: $target is not a row: write EXPERIMENT/PAIR/ROW SEEDS"
        [ -n "$seeds" ] || fail "$EVIDENCE: $target has no seeds: write them after it"
        IFS=/ read -r experiment pair row <<<"$target"
        for seed in $seeds; do
            require_number "$EVIDENCE: a seed of $target" "$seed"
            [ -e "$RECIPES/results/$experiment/$pair.$row.seed$seed.json" ] || echo "$target $seed"
        done
    done < <(listed)
}

# keep FILE...: copy each to the results of its experiment, completely or not at all.
keep() {
    local file kept
    for file; do
        [[ -e $file || $file != *.ref ]] || continue # labels have no references
        kept=$RECIPES/results/${file#"$RUNS/"}
        # Rows that run side by side share references.
        cp "$file" "$kept.part$$" && mv "$kept.part$$" "$kept" || { rm -f "$kept.part$$"; return 1; }
    done
}

# run_one TARGET SEED: run a row up to its scores, and copy its record to the results.
run_one() {
    local experiment pair row log
    IFS=/ read -r experiment pair row <<<"$1"
    log=$RUNS/evidence/$experiment.$pair.$row.seed$2
    exec 9>"$log.lock"
    flock --nonblock -E 75 9 || {
        [ $? -ne 75 ] || return 0
        echo "$1, seed $2: failed: $log.lock cannot be locked, see above" >&2
        return 1
    }
    echo "$1, seed $2: see $log.log"
    bash "$RECIPES/run.sh" "$1" --seed "$2" --runs "$RUNS" --stop-stage 5 >"$log.log" 2>&1 9>&- || {
        echo "$1, seed $2: failed: $(tail -n 1 "$log.log")" >&2
        return 1
    }
    mkdir -p "$RECIPES/results/$experiment"
    keep "$RUNS/$experiment/$pair".*.ref "$RUNS/$experiment/$pair.$row.seed$2.json" || {
        echo "$1, seed $2: failed: its scores could not be kept, see above" >&2
        return 1
    }
    echo "$1, seed $2: done"
}

# unshown: print the experiments in the list whose table is older than a result or missing, as it is
# after a run that was stopped.
unshown() {
    local experiment
    for experiment in $(listed | cut -d / -f 1 | sort -u); do
        [ -z "$(find "$RECIPES/results/$experiment" -name '*.json' \
            -newer "$RECIPES/results/$experiment/table.md" 2>&1 | head -n 1)" ] || echo "$experiment/"
    done
}

# tables ROWS: make the tables of their experiments, as far as these have results.
tables() {
    local experiment records begun=$RUNS/evidence/tables.begun$$
    mkdir -p "$RUNS/evidence"
    for experiment in $(cut -d / -f 1 <<<"$1" | sort -u); do
        records=("$RECIPES/results/$experiment"/*.json)
        [ -e "${records[0]}" ] || continue
        touch "$begun"
        # A table is as old as what it was made from: a result may come while it is being made.
        RECORDS=$RECIPES/results bash "$RECIPES/run.sh" "$experiment" --runs "$RUNS" --stage 6 &&
            touch -r "$begun" "$RECIPES/results/$experiment/table.md" || status=1
    done
    rm -f "$begun"
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
# (sed reads all of the input; head would end "missing" by a signal.)
rows=$(missing | sed -n "1,${MOST:-\$}p")
side_by_side "$JOBS" bash -c 'run_one "$0" "$1"' <<<"$rows" || status=$?
tables "$rows
$(unshown)"
[ $status -eq 0 ] || fail "some rows failed, see above: run again to continue with what is missing"
