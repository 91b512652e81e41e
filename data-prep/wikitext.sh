#!/usr/bin/env bash
# Prepare English text for a masked language model, in the pieces of a pre-trained model.
#
#   bash data-prep/wikitext.sh --corpus brown --model runs/models/minilm/base
#
#   --corpus NAME      wikitext-103 (Merity et al. 2017; 192 MB), wikitext-2 (5 MB), or brown, a
#                      million words of 1961 (Francis and Kucera 1964; 3 MB)
#   --model FOLDER     with the model's dict.txt and tokenizer.json, as floater convert writes them
#   --out FOLDER       default: runs/data/NAME
#   --workers N        processes (default: one per core)
#
# bin/ is what --task masked_lm takes; raw/ is the plain text, line for line the same.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"

CORPUS=wikitext-103 MODEL="" OUT="" WORKERS=$(cores)
parse_options CORPUS MODEL OUT WORKERS -- "$@"
require_choice CORPUS wikitext-103 wikitext-2 brown
require_whole WORKERS 1
require_model
setup_environment
open_out "${OUT:-$ROOT/runs/data/$CORPUS}" wikitext

WIKITEXT=https://s3.amazonaws.com/research.metamind.io/wikitext
NLTK=https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora
case $CORPUS in
wikitext-103) ADDRESS=$WIKITEXT/wikitext-103-raw-v1.zip
    SUM=91c00ae287f0d699e18605c84afc9e45c192bc6b7797ff8837e5474655a33794 ;;
wikitext-2) ADDRESS=$WIKITEXT/wikitext-2-raw-v1.zip
    SUM=ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11 ;;
brown) ADDRESS=$NLTK/brown.zip
    SUM=9b275f9b3b95d7bd66ccfb7cd259f445a13bbe5d1f4107aba09fd3e8364bafa6 ;;
esac
ARCHIVE=$DOWNLOAD/${ADDRESS##*/}
python "$PREP/fetch.py" "$ADDRESS" "$ARCHIVE" --sha256 "$SUM"

plain_text() {
    python "$PREP/plain.py" "${CORPUS%%-*}" "$ARCHIVE" --out "$OUT/raw.part"
}

cut_up() {
    python "$PREP/pieces.py" --model "$MODEL" --out "$OUT/pieces.part" \
        "$OUT"/raw/*.txt
}

binarise_text() {
    local pieces=$OUT/pieces
    fairseq-preprocess --only-source --srcdict "$MODEL/dict.txt" --destdir "$OUT/bin.part" \
        --trainpref "$pieces/train.txt" --validpref "$pieces/valid.txt" \
        --testpref "$pieces/test.txt" --workers "$WORKERS"
}

stage raw "$ARCHIVE" -- "$OUT/raw" -- plain_text
stage pieces "$OUT/raw" "$MODEL"/{dict.txt,tokenizer.json} -- "$OUT/pieces" -- cut_up
stage binarise "$OUT/pieces" "$MODEL/dict.txt" -- "$OUT/bin" -- binarise_text
grep words "$OUT/.stages/raw.log"
