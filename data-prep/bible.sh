#!/usr/bin/env bash
# Prepare the Bible, English to Spanish: the World English Bible and the Reina-Valera of 1909, both
# in the public domain, paired by verse. Made for long sentences; no book is in two splits.
#
#   bash data-prep/bible.sh
#
#   --out FOLDER           default: runs/data/bible.en-es
#   --subword METHOD       sentencepiece (default): on plain text; or subword-nmt: tokenised as Moses
#                          does, then byte-pair encoding
#   --size N               pieces or merges of both languages together (default: 8000)
#   --verses N             a line is a document: up to N verses of one chapter, one after the other,
#                          with <s/> between them (default: 1); with sentencepiece only
#   --train-max-words N    train on the pairs of up to N English words; 0: on all (default)
#   --long-test N          with --train-max-words: of the pairs that are too long to be trained on,
#                          those of more than N English words become a second test set, long, except
#                          in books with a twin, such as Kings and Chronicles; 0: none (default)
#   --joined yes|no        also train on every two neighbouring pairs joined (default: no)
#   --workers N            processes (default: one per core)
#   --checksums FILE       checksums of the downloads (default: data-prep/SHA256SUMS)
#
# The Bibles are Debian's packages sword-text-web and sword-text-sparv, which are downloaded but not
# installed.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"

SOURCE=en TARGET=es OUT="" SUBWORD=sentencepiece SIZE=8000 VERSES=1 TRAIN_MAX_WORDS=0 LONG_TEST=0
JOINED=no
WORKERS=$(cores) CHECKSUMS=$PREP/SHA256SUMS
parse_options OUT SUBWORD SIZE VERSES TRAIN_MAX_WORDS LONG_TEST JOINED WORKERS CHECKSUMS -- "$@"
require_choice SUBWORD sentencepiece subword-nmt
require_whole SIZE 1
require_whole VERSES 1
require_whole TRAIN_MAX_WORDS 0
require_whole LONG_TEST 0
TESTS=(test)
if [ "$LONG_TEST" -gt 0 ]; then
    [ "$TRAIN_MAX_WORDS" -gt 0 ] && [ "$LONG_TEST" -ge "$TRAIN_MAX_WORDS" ] ||
        fail "--long-test $LONG_TEST is for pairs that are not trained on: set" \
            "--train-max-words to a value from 1 to $LONG_TEST"
    TESTS+=(long)
fi
require_choice JOINED no yes
require_whole WORKERS 1
SEPARATOR=""
if [ "$VERSES" -gt 1 ]; then
    [ "$SUBWORD" = sentencepiece ] || fail "--verses $VERSES needs --subword sentencepiece"
    [ "$JOINED" = no ] || fail "--joined yes is for single verses: leave out --verses $VERSES"
    SEPARATOR="<s/>"
fi
setup_environment
open_out "${OUT:-$ROOT/runs/data/bible.$SOURCE-$TARGET}" bible

ENGLISH=sword-text-web=426.0-1
SPANISH=sword-text-sparv=2.60-1

package_file() {
    echo "$DOWNLOAD/${1/=/_}_all.deb"
}

for package in $ENGLISH $SPANISH; do
    python "$PREP/fetch.py" "apt:$package" "$(package_file $package)" --checksums "$CHECKSUMS"
done

plain_text() {
    local all=$OUT/raw.part/all language
    python "$PREP/unpack.py" "$(package_file $ENGLISH)" "$all/english"
    python "$PREP/unpack.py" "$(package_file $SPANISH)" "$all/spanish"
    python "$PREP/bible.py" "$SOURCE=$all/english/usr/share/sword" \
        "$TARGET=$all/spanish/usr/share/sword" "$OUT/raw.part" \
        --verses "$VERSES" --separator "$SEPARATOR"
    for language in "$SOURCE" "$TARGET" verse; do
        mv "$OUT/raw.part/train.$language" "$all/$language"
    done
    python "$PREP/filter.py" --max-source-words "$TRAIN_MAX_WORDS" "$all/$SOURCE" \
        "$all/$SOURCE" "$OUT/raw.part/train.$SOURCE" "$all/$TARGET" "$OUT/raw.part/train.$TARGET" \
        "$all/verse" "$OUT/raw.part/train.verse"
    if [ "$LONG_TEST" -gt 0 ]; then
        python "$PREP/filter.py" --min-source-words $((LONG_TEST + 1)) "$OUT/raw.part/single.$SOURCE" \
            "$OUT/raw.part/single.$SOURCE" "$OUT/raw.part/long.$SOURCE" \
            "$OUT/raw.part/single.$TARGET" "$OUT/raw.part/long.$TARGET" \
            "$OUT/raw.part/single.verse" "$OUT/raw.part/long.verse"
    fi
    rm -r "$all" "$OUT"/raw.part/single.*
}

stage raw "$(package_file $ENGLISH)" "$(package_file $SPANISH)" -- "$OUT/raw" -- plain_text
if [ "$SUBWORD" = subword-nmt ]; then
    moses_words normalise tokenise
    subwords tok
    describe bible moses false normalise tokenise
else
    rm -rf "$OUT/tok"
    subwords raw
    describe bible null false
fi
binarise
summarise
