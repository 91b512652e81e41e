#!/usr/bin/env bash
# Prepare WMT14, English to German or French, as fairseq's prepare-wmt14en2de.sh and -en2fr.sh do;
# the test set is newstest2014.
#
#   bash data-prep/wmt14.sh --target de
#
#   --target LANGUAGE      de (default; 4.5 million pairs are published) or fr (41 million)
#   --icml17               for German: with the News Commentary of WMT14, not that of WMT17; the
#                          data of "Convolutional Sequence to Sequence Learning"
#   --out FOLDER           default: runs/data/wmt14.en-LANGUAGE, with .icml17 if that is set
#   --subword METHOD       subword-nmt (default): tokenised as Moses does, then byte-pair encoding;
#                          or sentencepiece: on plain text
#   --size N               merges or pieces of both languages together (default: 40000)
#   --train-max-words N    train on the pairs of up to N English words; 0: on all (default). Held-out
#                          pairs that are longer become a second test set, long
#   --workers N            processes (default: one per core)
#   --checksums FILE       checksums of the downloads, as sha256sum writes them, with HOST/PATH for
#                          names (default: those in this script)
#
# With the defaults, bpe/ and bpe.model are byte for byte what those scripts make from the archives.
# raw/ has the same pairs before normalisation and tokenisation; in test, typographic apostrophes
# have already been made plain. All pairs, also those that are dropped as too long or too unequal,
# stay in uncleaned/. Needs about 10 GB of disk for German, and 110 GB for French.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"
source "$PREP/fairseq.sh"

SOURCE=en TARGET=de ICML17=no OUT="" SUBWORD=subword-nmt SIZE=40000 TRAIN_MAX_WORDS=0
WORKERS=$(cores) CHECKSUMS=""
options=()
for option in "$@"; do
    options+=("$option")
    [ "$option" != --icml17 ] || options+=(yes)
done
parse_options TARGET ICML17 OUT SUBWORD SIZE TRAIN_MAX_WORDS WORKERS CHECKSUMS -- "${options[@]}"
require_choice TARGET de fr
require_choice SUBWORD subword-nmt sentencepiece
require_whole SIZE 1
require_whole TRAIN_MAX_WORDS 0
require_whole WORKERS 1
[ "$TARGET $ICML17" != "fr yes" ] || fail "--icml17 is for --target de: leave it out for French"
setup_environment
default=$ROOT/runs/data/wmt14.$SOURCE-$TARGET
[ "$ICML17" = no ] || default+=.icml17
open_out "${OUT:-$default}" wmt14

TESTS=(test) CLEANED=(train valid)
if [ "$TRAIN_MAX_WORDS" -gt 0 ]; then
    TESTS+=(long)
    CLEANED+=(long)
fi
MEMBERS=() ARCHIVES=()

# corpus MEMBER ADDRESS SHA256: add MEMBER.en and MEMBER.TARGET of an archive to the training text.
corpus() {
    get "$2" --sha256 "$3"
    MEMBERS+=("$1")
    ARCHIVES+=("${2##*/}")
}

WMT13=http://www.statmt.org/wmt13
get http://www.statmt.org/wmt14/test-full.tgz --md5 a8cd784e006feb32ac6f3d9ec7eb389a
corpus "training/europarl-v7.$TARGET-en" $WMT13/training-parallel-europarl-v7.tgz \
    0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7
corpus "commoncrawl.$TARGET-en" $WMT13/training-parallel-commoncrawl.tgz \
    c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5
if [ "$TARGET" = fr ]; then
    corpus un/undoc.2000.fr-en $WMT13/training-parallel-un.tgz \
        29141b5c1eba149a94f7a59d3b1a834b2e47fe0f8758d68dcd77a3d3f497ee47
fi
if [ "$TARGET $ICML17" = "de no" ]; then
    corpus training/news-commentary-v12.de-en \
        http://data.statmt.org/wmt17/translation-task/training-parallel-nc-v12.tgz \
        2b45f30ef1d550d302fd17dd3a5cbe19134ccc4c2cf50c2dae534aee600101a2
else
    corpus "training/news-commentary-v9.$TARGET-en" \
        http://www.statmt.org/wmt14/training-parallel-nc-v9.tgz \
        cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485
fi
if [ "$TARGET" = fr ]; then
    corpus giga-fren.release2.fixed http://www.statmt.org/wmt10/training-giga-fren.tar \
        3ff8319f6919393520559bfbc7ad6a747ec81b3abc7be9993b338d4b017b4d9a
fi

# 1. Plain text; one of every `interval` pairs is held out.
plain_text() {
    local part=$OUT/uncleaned/raw.part i interval=100 language
    [ "$TARGET" = de ] || interval=1333
    mkdir "$part"
    for i in "${!MEMBERS[@]}"; do
        append "$DOWNLOAD/${ARCHIVES[i]}" "${MEMBERS[i]}" "$part"
    done
    for language in "$SOURCE" "$TARGET"; do
        hold_out $interval "$part"/{all,valid,train}."$language"
        rm "$part/all.$language"
    done
    test_text "$DOWNLOAD/test-full.tgz" "test-full/newstest2014-${TARGET}en" "$part"
    limit_train "$part"
    [ "$TRAIN_MAX_WORDS" -eq 0 ] || set_long_apart "$part"
}

# set_long_apart FOLDER: move the longer pairs of valid to long.
set_long_apart() {
    local language
    for language in "$SOURCE" "$TARGET"; do mv "$1/valid.$language" "$1/all.$language"; done
    python "$PREP/filter.py" --min-source-words $((TRAIN_MAX_WORDS + 1)) "$1/all.$SOURCE" \
        "$1/all.$SOURCE" "$1/long.$SOURCE" "$1/all.$TARGET" "$1/long.$TARGET"
    python "$PREP/filter.py" --max-source-words "$TRAIN_MAX_WORDS" "$1/all.$SOURCE" \
        "$1/all.$SOURCE" "$1/valid.$SOURCE" "$1/all.$TARGET" "$1/valid.$TARGET"
    rm "$1"/all.*
}

# append ARCHIVE MEMBER FOLDER: add MEMBER.en and MEMBER.TARGET, perhaps with .gz, to the text.
append() {
    local language file=$3/unpacked/$2
    python "$PREP/unpack.py" "$1" "$3/unpacked" --member "$2.*" --most 32 # French is large
    find "$3/unpacked" -name '*.gz' -exec gunzip {} +
    need "$1" "$file.$SOURCE" "$file.$TARGET"
    need_pairs "$1" "$file.$SOURCE" "$file.$TARGET"
    for language in "$SOURCE" "$TARGET"; do
        sed '$a\' "$file.$language" >>"$3/all.$language" # ends the last line
    done
    rm -r "$3/unpacked"
}

# test_text ARCHIVE MEMBER FOLDER: make test.en and test.TARGET.
test_text() {
    local source=$3/unpacked/$2-src.$SOURCE.sgm target=$3/unpacked/$2-ref.$TARGET.sgm
    python "$PREP/unpack.py" "$1" "$3/unpacked" --member "$2-*.sgm"
    need "$1" "$source" "$target"
    segments <"$source" >"$3/test.$SOURCE"
    segments <"$target" >"$3/test.$TARGET"
    need_pairs "$1" "$3/test.$SOURCE" "$3/test.$TARGET"
    rm -r "$3/unpacked"
}

# 2. Words.
words() {
    local from=$OUT/uncleaned/raw to=$OUT/uncleaned/tok.part language split
    mkdir "$to"
    for language in "$SOURCE" "$TARGET"; do
        for split in "${CLEANED[@]}"; do
            moses "$language" normalise remove-non-printing tokenise-aggressive \
                <"$from/$split.$language" >"$to/$split.$language"
        done
        moses "$language" tokenise-aggressive <"$from/test.$language" >"$to/test.$language"
    done
}

# 4. Drop the pairs that are too long or too unequal in subwords; in test all stay.
clean_pairs() {
    local from=$OUT/uncleaned folder language split moves
    cp "$from/bpe.model" "$OUT/bpe.model.part"
    for folder in bpe "${PLAIN[@]}"; do
        mkdir "$OUT/$folder.part"
        cp "$from/$folder/test.$SOURCE" "$from/$folder/test.$TARGET" "$OUT/$folder.part"
    done
    for split in "${CLEANED[@]}"; do
        moves=()
        for folder in "${PLAIN[@]}"; do
            for language in "$SOURCE" "$TARGET"; do
                moves+=("$from/$folder/$split.$language" "$OUT/$folder.part/$split.$language")
            done
        done
        python "$PREP/clean.py" "$from/bpe/$split".{"$SOURCE","$TARGET"} \
            "$OUT/bpe.part/$split".{"$SOURCE","$TARGET"} --max 250 --ratio 1.5 "${moves[@]}"
    done
}

PLAIN=(raw tok)
[ "$SUBWORD" = subword-nmt ] || PLAIN=(raw)
stage text "$DOWNLOAD/test-full.tgz" "${ARCHIVES[@]/#/$DOWNLOAD/}" -- "$OUT/uncleaned/raw" -- \
    plain_text
# 3. Subwords, in uncleaned/ as well.
if [ "$SUBWORD" = subword-nmt ]; then
    stage words "$OUT/uncleaned/raw" -- "$OUT/uncleaned/tok" -- words
    OUT=$OUT/uncleaned subwords tok
    describe wmt14 moses false tokenise-aggressive
else
    rm -rf "$OUT/tok"
    OUT=$OUT/uncleaned subwords raw
    describe wmt14 null false
fi
stage clean "$OUT/uncleaned"/{bpe.model,bpe} "${PLAIN[@]/#/$OUT/uncleaned/}" -- \
    "$OUT/bpe.model" "$OUT/bpe" "${PLAIN[@]/#/$OUT/}" -- clean_pairs
binarise
summarise
