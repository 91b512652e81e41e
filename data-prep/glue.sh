#!/usr/bin/env bash
# Prepare a task of GLUE (Wang et al. 2019) for fine-tuning a pre-trained model.
#
#   bash data-prep/glue.sh --task rte --model runs/models/minilm/base
#
#   --task NAME        cola, sst-2, mrpc, qqp, sts-b, mnli, qnli or rte
#   --model FOLDER     with the model's dict.txt and tokenizer.json, as floater convert writes them
#   --out FOLDER       default: runs/data/glue.NAME
#   --train-rows N     train on the first N rows; 0: on all (default)
#   --hold-out N       use every N-th training row as valid, and leave out the published development
#                      set, so that nothing can be chosen by it; 0: as published (default)
#   --workers N        processes (default: one per core)
#   --checksums FILE   checksums of the files of MRPC (default: data-prep/SHA256SUMS)
#
# bin/ is what --task sentence_prediction takes; raw/ is the plain text, row for row the same.
# The published archives have no checksums of their own; their files are compared by MD5.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"

TASK=rte MODEL="" OUT="" TRAIN_ROWS=0 HOLD_OUT=0 WORKERS=$(cores)
CHECKSUMS=$PREP/SHA256SUMS
parse_options TASK MODEL OUT TRAIN_ROWS HOLD_OUT WORKERS CHECKSUMS -- "$@"
require_choice TASK cola sst-2 mrpc qqp sts-b mnli qnli rte
require_whole TRAIN_ROWS 0
require_whole HOLD_OUT 0
[ "$HOLD_OUT" -ne 1 ] || fail "--hold-out 1 leaves no row to train on: use 2 or more"
require_whole WORKERS 1
require_model
setup_environment
open_out "${OUT:-$ROOT/runs/data/glue.$TASK}" glue

GLUE=https://dl.fbaipublicfiles.com/glue/data
SENTEVAL=https://dl.fbaipublicfiles.com/senteval/senteval_data
declare -A ARCHIVES=(
    [cola]=CoLA [sst-2]=SST-2 [qqp]=QQP-clean [sts-b]=STS-B [mnli]=MNLI [qnli]=QNLIv2 [rte]=RTE
)
if [ "$TASK" = mrpc ]; then
    sources=("$SENTEVAL"/msr_paraphrase_{train,test}.txt "$GLUE/mrpc_dev_ids.tsv")
    sums=(--checksums "$CHECKSUMS")
else
    sources=("$GLUE/${ARCHIVES[$TASK]}.zip")
    sums=()
fi
files=()
for address in "${sources[@]}"; do
    files+=("$DOWNLOAD/${address##*/}")
    python "$PREP/fetch.py" "$address" "${files[-1]}" "${sums[@]}"
done

plain_text() {
    local published=${files[0]}
    [ "$TASK" != mrpc ] || published=$DOWNLOAD
    python "$PREP/glue.py" "$TASK" --published "$published" --out "$OUT/raw.part" \
        --train-rows "$TRAIN_ROWS" --hold-out "$HOLD_OUT"
    rm -rf "$OUT/raw.part/split"
}

# numbered FOLDER SPLIT ENDING: print SPLIT, SPLIT1, ... as fairseq-preprocess takes them.
numbered() {
    local split found=()
    for split in "$2" "${2}1"; do
        [ ! -e "$1/$split.$3" ] || found+=("$1/$split.$3")
    done
    (IFS=, && echo "${found[*]}")
}

cut_up() {
    python "$PREP/pieces.py" --model "$MODEL" --out "$OUT/pieces.part" \
        "$OUT"/raw/*.input*
}

# binarise_part NAME FOLDER OPTION...: make OUT/bin.part/NAME from FOLDER/*.NAME.
binarise_part() {
    local tests
    tests=$(numbered "$2" test "$1")
    fairseq-preprocess --only-source --trainpref "$2/train.$1" \
        --validpref "$(numbered "$2" valid "$1")" ${tests:+--testpref "$tests"} \
        --destdir "$OUT/bin.part/$1" --workers "$WORKERS" "${@:3}"
}

binarise_rows() {
    local split part
    mkdir "$OUT/bin.part"
    for part in input0 input1; do
        [ ! -e "$OUT/pieces/train.$part" ] ||
            binarise_part "$part" "$OUT/pieces" --srcdict "$MODEL/dict.txt"
    done
    if [ "$TASK" = sts-b ]; then
        mkdir "$OUT/bin.part/label"
        for split in train valid; do cp "$OUT/raw/$split.label" "$OUT/bin.part/label/"; done
    else
        binarise_part label "$OUT/raw" --srcdict "$OUT/raw/label.dict.txt"
    fi
}

stage raw "${files[@]}" -- "$OUT/raw" -- plain_text
stage pieces "$OUT/raw" "$MODEL"/{dict.txt,tokenizer.json} -- "$OUT/pieces" -- cut_up
stage binarise "$OUT/pieces" "$OUT/raw" "$MODEL/dict.txt" -- "$OUT/bin" -- binarise_rows
sed -n '/rows\|left out\|empty/p' "$OUT/.stages/raw.log"
