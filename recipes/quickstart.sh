#!/usr/bin/env bash
# From nothing to a trained, scored FLOATER translation model on a real corpus, in some minutes.
#
#   bash recipes/quickstart.sh            train floater_transformer, translate, score, draw
#   bash recipes/quickstart.sh --compare  also sinusoidal and learned positions, and a table
#
# Everything lands in runs/quickstart. A second run reuses what is done, an interrupted one goes on.
set -euo pipefail
source "$(dirname "$0")/common.sh"

ENCODERS=(floater)
OUT=$ROOT/runs/quickstart
UPDATES=1400
while [ $# -gt 0 ]; do
    case $1 in
    --compare) ENCODERS=(floater sinusoidal learned) ;;
    --out) OUT=$(mkdir -p "${2:?--out needs a folder}" && cd "$2" && pwd) && shift ;;
    --updates) UPDATES=${2:?--updates needs a number} && shift ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0" && exit ;;
    *) fail "unknown option $1: choose from --compare, --out FOLDER, --updates N, --help" ;;
    esac
    shift
done
[[ $UPDATES =~ ^[1-9][0-9]*$ ]] || fail "--updates must be a whole number >= 1, got $UPDATES"

declare -A FLAGS=(
    [floater]="--position-encoder floater"
    [sinusoidal]="--position-encoder sinusoidal --position-blocks input"
    [learned]="--position-encoder learned --position-blocks input"
)

# By default fairseq drops the last batch, that of the longest sentences, if its size is no
# multiple of 8: in training, and in validation and generation too.
ALL_SENTENCES=(--required-batch-size-multiple 1)

# Show a training log as one short line every 100 updates and every validation.
progress() {
    sed -un -e "s/.*train_inner.* loss=\([0-9.]*\),.*wps=\([0-9.]*\),.*num_updates=\([0-9]*\),.*/  update \3 of $UPDATES, loss \1, \2 words a second/p" \
        -e 's/.*valid on .* nll_loss \([0-9.]*\) | ppl \([0-9.]*\) .*num_updates \([0-9]*\).*/  validation at update \3: perplexity \2/p'
}

# train NAME: resumes from NAME/checkpoint_last.pt if there is one.
train() {
    local run=$OUT/$1 status=0
    local command=(
        fairseq-train "$OUT/bin" --user-dir "$ROOT/fairseq_floater"
        --arch floater_transformer_tiny ${FLAGS[$1]} --share-all-embeddings
        --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0
        --lr 2e-3 --lr-scheduler inverse_sqrt --warmup-updates 400 --dropout 0.1
        --criterion label_smoothed_cross_entropy --label-smoothing 0.1
        --max-tokens 2048 "${ALL_SENTENCES[@]}" --max-update "$UPDATES" --seed 1
        --update-epoch-batch-itr True  # an interrupted training ends as one that was not
        --save-interval-updates 400 --keep-interval-updates 1 --no-epoch-checkpoints
        --validate-interval 1000 --log-format simple --log-interval 100
        --num-workers 0 --save-dir "$run"
    )
    if [ "$(cat "$run/train.done" 2>/dev/null)" = "${command[*]}" ]; then
        echo "done already: $1"
        return
    fi
    mkdir -p "$run"
    rm -f "$run/generate.done"
    OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)} "${command[@]}" 2>&1 |
        tee -a "$run/train.log" | progress || status=$?
    if [ $status -ne 0 ]; then
        tail -n 3 "$run/train.log" >&2
        fail "training stopped: see $run/train.log, then run again to go on"
    fi
    echo "${command[*]}" >"$run/train.done"
}

translate() {
    local run=$OUT/$1
    once "$run/generate.done" fairseq-generate "$OUT/bin" --user-dir "$ROOT/fairseq_floater" \
        --path "$run/checkpoint_last.pt" --gen-subset test --beam 4 --lenpen 0.6 \
        --max-len-a 2 --max-len-b 10 --max-tokens 4096 "${ALL_SENTENCES[@]}" --remove-bpe sentencepiece --num-workers 0
}

setup_environment

heading "corpus: English and German interface texts"
python "$ROOT/data-prep/localisation.py" --source en --target de --out "$OUT/corpus"

BINARISED=$OUT/bin/$(sha256sum <"$OUT/corpus/manifest.json" | cut -c 1-12).done
if [ -d "$OUT/bin" ] && [ ! -e "$BINARISED" ]; then
    heading "the corpus has changed: starting over"
    rm -rf "$OUT/bin" "$OUT/floater" "$OUT/sinusoidal" "$OUT/learned"
fi

heading "binarising"
once "$BINARISED" \
    fairseq-preprocess --source-lang en --target-lang de --joined-dictionary --workers 2 \
    --trainpref "$OUT/corpus/spm/train" --validpref "$OUT/corpus/spm/valid" \
    --testpref "$OUT/corpus/spm/test" --destdir "$OUT/bin"

for name in "${ENCODERS[@]}"; do
    heading "training: $name"
    train "$name"
    heading "translating the test set: $name"
    translate "$name"
done

heading "results"
python "$ROOT/recipes/report.py" "$OUT" "${ENCODERS[@]}"
for stack in encoder decoder; do
    floater heatmap "$OUT/floater/checkpoint_last.pt" "$OUT/$stack.png" --stack $stack --positions 64
done
