#!/usr/bin/env bash
# Prepare IWSLT14, German to English: talks (Cettolo et al. 2014), as fairseq's prepare-iwslt14.sh
# does.
#
#   bash data-prep/iwslt14.sh
#
#   --out FOLDER           default: runs/data/iwslt14.de-en
#   --subword METHOD       subword-nmt (default): tokenised as Moses does, lower-cased, then
#                          byte-pair encoding; or sentencepiece: on plain text
#   --size N               merges or pieces of both languages together (default: 10000)
#   --train-max-words N    train on the pairs of up to N German words; 0: on all (default)
#   --workers N            processes (default: one per core)
#   --checksums FILE       checksums of the downloads, as sha256sum writes them, with HOST/PATH for
#                          names (default: an md5 in this script)
#
# With the defaults, bpe/ and bpe.model are byte for byte what that script makes from the archive.
# Pairs are dropped by their tokenised words, whatever the subwords are. raw/ has the same pairs
# before tokenisation; in test, typographic apostrophes have already been made plain.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"
source "$PREP/fairseq.sh"

SOURCE=de TARGET=en OUT="" SUBWORD=subword-nmt SIZE=10000 TRAIN_MAX_WORDS=0
WORKERS=$(cores) CHECKSUMS=""
parse_options OUT SUBWORD SIZE TRAIN_MAX_WORDS WORKERS CHECKSUMS -- "$@"
require_choice SUBWORD subword-nmt sentencepiece
require_whole SIZE 1
require_whole TRAIN_MAX_WORDS 0
require_whole WORKERS 1
setup_environment
open_out "${OUT:-$ROOT/runs/data/iwslt14.$SOURCE-$TARGET}" iwslt14

TESTS=(test)
TALKS=(TED.dev2010 TEDX.dev2012 TED.tst2010 TED.tst2011 TED.tst2012) # together they are test
get http://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz \
    --md5 10936dfdf616504ddbd844e91b94ef4a

# 1. Plain text, without the tags.
plain_text() {
    local archive=$DOWNLOAD/de-en.tgz part=$OUT/text.part language files
    local from=$part/unpacked/de-en
    python "$PREP/unpack.py" "$archive" "$part/unpacked" --member "de-en/*"
    for language in "$SOURCE" "$TARGET"; do
        files=("${TALKS[@]/%/.de-en.$language.xml}")
        files=("${files[@]/#/$from/IWSLT14.}")
        need "$archive" "$from/train.tags.de-en.$language" "${files[@]}"
        spoken <"$from/train.tags.de-en.$language" >"$part/train.$language"
        cat "${files[@]}" | segments >"$part/test.$language"
    done
    need_pairs "$archive" "$part"/train.{de,en}
    need_pairs "$archive" "$part"/test.{de,en}
    rm -r "$part/unpacked"
}

# spoken: drop the lines that are about a talk; keep its title and description, without tags.
spoken() {
    sed -E '/<(url|talkid|keywords)>/d; s/<\/?(title|description)>//g'
}

# 2. Words, and which pairs are kept; every 23rd of these is held out.
words() {
    local raw=$OUT/raw.part tok=$OUT/tok.part language folder
    mkdir "$raw" "$tok"
    for language in "$SOURCE" "$TARGET"; do
        moses "$language" tokenise <"$OUT/text/train.$language" >"$tok/words.$language"
        moses "$language" tokenise lowercase <"$OUT/text/test.$language" >"$tok/test.$language"
        cp "$OUT/text/test.$language" "$raw/test.$language"
    done
    python "$PREP/clean.py" "$tok"/words.{de,en} "$tok"/clean.{de,en} --max 175 --ratio 1.5 \
        "$OUT/text/train.de" "$raw/all.de" "$OUT/text/train.en" "$raw/all.en"
    for language in "$SOURCE" "$TARGET"; do
        moses "$language" lowercase <"$tok/clean.$language" >"$tok/all.$language"
        for folder in "$raw" "$tok"; do
            hold_out 23 "$folder"/{all,valid,train}."$language"
        done
    done
    rm "$tok"/{words,clean}.* "$raw"/all.* "$tok"/all.*
    limit_train "$raw" "$tok"
}

stage text "$DOWNLOAD/de-en.tgz" -- "$OUT/text" -- plain_text
stage words "$OUT/text" -- "$OUT/raw" "$OUT/tok" -- words
# 3. Subwords, and fairseq's files made from them.
if [ "$SUBWORD" = subword-nmt ]; then
    subwords tok
    describe iwslt14 moses true tokenise lowercase
else
    subwords raw
    describe iwslt14 null false
fi
binarise
summarise
