#!/usr/bin/env bash
# Prepare Multi30k, captions of photographs, English to German or French (Elliott et al. 2016).
#
#   bash data-prep/multi30k.sh --target de
#
#   --target LANGUAGE      de (default) or fr
#   --out FOLDER           default: runs/data/multi30k.en-LANGUAGE
#   --subword METHOD       subword-nmt (default): lower-cased, tokenised as Moses does, then
#                          byte-pair encoding; or sentencepiece: on plain text
#   --size N               merges or pieces of both languages together (default: 10000)
#   --train-max-words N    train on the pairs of up to N English words; 0: on all (default)
#   --workers N            processes (default: one per core)
#   --checksums FILE       checksums of the downloads (default: data-prep/SHA256SUMS)
#
# Test sets: test2016 and test2017, both of Flickr.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"

SOURCE=en TARGET=de OUT="" SUBWORD=subword-nmt SIZE=10000 TRAIN_MAX_WORDS=0
WORKERS=$(cores) CHECKSUMS=$PREP/SHA256SUMS
parse_options TARGET OUT SUBWORD SIZE TRAIN_MAX_WORDS WORKERS CHECKSUMS -- "$@"
require_choice TARGET de fr
require_choice SUBWORD subword-nmt sentencepiece
require_whole SIZE 1
require_whole TRAIN_MAX_WORDS 0
require_whole WORKERS 1
setup_environment
open_out "${OUT:-$ROOT/runs/data/multi30k.$SOURCE-$TARGET}" multi30k

ADDRESS=https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw
TESTS=(test2016 test2017)
declare -A PUBLISHED=(
    [train]=train [valid]=val [test2016]=test_2016_flickr [test2017]=test_2017_flickr
)

archives=()
for name in "${PUBLISHED[@]}"; do
    for language in "$SOURCE" "$TARGET"; do
        archives+=("$DOWNLOAD/$name.$language.gz")
        python "$PREP/fetch.py" "$ADDRESS/$name.$language.gz" "${archives[-1]}" \
            --checksums "$CHECKSUMS"
    done
done

plain_text() {
    local split language all=$OUT/raw.part/all
    mkdir "$OUT/raw.part"
    for split in "${!PUBLISHED[@]}"; do
        for language in "$SOURCE" "$TARGET"; do
            gzip -dc "$DOWNLOAD/${PUBLISHED[$split]}.$language.gz" >"$OUT/raw.part/$split.$language"
        done
        python "$PREP/check.py" "$OUT/raw.part/$split.$SOURCE" "$OUT/raw.part/$split.$TARGET"
    done
    for language in "$SOURCE" "$TARGET"; do
        mv "$OUT/raw.part/train.$language" "$all.$language"
    done
    python "$PREP/filter.py" --max-source-words "$TRAIN_MAX_WORDS" "$all.$SOURCE" \
        "$all.$SOURCE" "$OUT/raw.part/train.$SOURCE" "$all.$TARGET" "$OUT/raw.part/train.$TARGET"
    rm "$all.$SOURCE" "$all.$TARGET"
}

stage raw "${archives[@]}" -- "$OUT/raw" -- plain_text
if [ "$SUBWORD" = subword-nmt ]; then
    moses_words lowercase normalise tokenise
    subwords tok
    describe multi30k moses true lowercase normalise tokenise
else
    rm -rf "$OUT/tok"
    subwords raw
    describe multi30k null false
fi
binarise
summarise
