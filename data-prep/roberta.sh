#!/usr/bin/env bash
# Get a RoBERTa as fairseq publishes it (Liu, Y. et al. 2019).
#
#   bash data-prep/roberta.sh --size base
#
#   --size NAME        base (125 M parameters, 0.2 GB) or large (355 M, 0.7 GB)
#   --out FOLDER       default: runs/models/roberta.NAME
#
# base/ in the folder has the original model for fairseq-train with --arch floater_roberta_base or
# floater_roberta_large: model.pt, dict.txt and tokenizer.json. The published archives have no
# checksums.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"

SIZE=base OUT=""
parse_options SIZE OUT -- "$@"
require_choice SIZE base large
setup_environment
open_out "${OUT:-$ROOT/runs/models/roberta.$SIZE}" roberta

PUBLISHED=https://dl.fbaipublicfiles.com/fairseq
ARCHIVE=$DOWNLOAD/roberta.$SIZE.tar.gz
python "$PREP/fetch.py" "$PUBLISHED/models/roberta.$SIZE.tar.gz" "$ARCHIVE"
for file in encoder.json vocab.bpe; do
    python "$PREP/fetch.py" "$PUBLISHED/gpt2_bpe/$file" "$DOWNLOAD/$file"
done

unpack_model() {
    python "$PREP/unpack.py" "$ARCHIVE" "$OUT/published.part" --member "roberta.$SIZE/*"
}

as_it_was() {
    local published=$OUT/published/roberta.$SIZE
    mkdir "$OUT/base.part"
    python "$PREP/roberta.py" "$published/dict.txt" "$DOWNLOAD"/{encoder.json,vocab.bpe} \
        --out "$OUT/base.part"
    floater convert "$published/model.pt" "$OUT/base.part/model.pt" \
        --position-encoder learned --position-blocks input
}

stage published "$ARCHIVE" -- "$OUT/published" -- unpack_model
stage convert "$OUT/published" "$DOWNLOAD"/{encoder.json,vocab.bpe} -- "$OUT/base" -- as_it_was
