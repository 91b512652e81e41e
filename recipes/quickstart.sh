#!/usr/bin/env bash
# From nothing to a trained, scored FLOATER translation model on a real corpus, in a few minutes.
#
#   bash recipes/quickstart.sh            train floater_transformer, translate, score, draw
#   bash recipes/quickstart.sh --compare  also train sinusoidal and learned positions; print a table
#
# Everything is written to runs/quickstart, and the corpus to runs/data; --runs FOLDER replaces runs.
# A second run reuses what is done, and an interrupted one continues. This is the experiment
# `quickstart` of run.sh; --updates N trains for longer or shorter.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"

ROWS=(floater) RUNS=$ROOT/runs UPDATES=1400
while [ $# -gt 0 ]; do
    case $1 in
    --compare) ROWS=(floater sinusoidal learned) ;;
    --runs | --updates)
        [ $# -gt 1 ] || fail "$1 needs a value: see --help"
        case $1 in
        --runs) RUNS=$(realpath -ms -- "$2") ;;
        --updates) UPDATES=$2 ;;
        esac
        shift
        ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" && exit ;;
    *) fail "unknown option $1: choose from --compare, --runs FOLDER, --updates N, --help" ;;
    esac
    shift
done
require_number --updates "$UPDATES"
export UPDATES

setup_environment
for row in "${ROWS[@]}"; do
    bash "$ROOT/recipes/run.sh" "quickstart/en-de/$row" --runs "$RUNS" --stop-stage 5
done

heading "results"
python "$ROOT/recipes/samples.py" "$RUNS" "${ROWS[@]}"
checkpoint=$RUNS/quickstart/en-de/floater/seed1/average.pt
for stack in encoder decoder; do
    picture=$RUNS/quickstart/$stack.png
    if [ "$picture" -nt "$checkpoint" ]; then
        echo "$picture" # drawn already
    else
        floater heatmap "$checkpoint" "$picture" --stack $stack --positions 64
    fi
done
