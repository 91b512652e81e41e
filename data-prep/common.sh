# Shared by the corpus scripts; to be sourced. Each script prepares one corpus in the folder OUT:
#
#   raw/  tok/  bpe/     {train,valid,TEST...}.{SOURCE,TARGET}: plain text as published, words
#                        (where Moses is used), subwords; line for line the same pairs
#   joined/              train.{SOURCE,TARGET}: those of bpe/, and joined neighbours (where asked for)
#   bpe.model            the model of the subwords
#   bin/                 what fairseq-preprocess makes from bpe/
#   corpus.json          a description of the corpus; summary.json: its size
#   .stages/             a marker and a log of every stage
#
# Downloads are kept beside OUT, in download/CORPUS, for all corpora that are made from them.

source "$(dirname "${BASH_SOURCE[0]}")/../recipes/common.sh"
PREP=$ROOT/data-prep
# Not every script sets these, and a variable of the environment must not take their place.
unset JOINED SEPARATOR
source "$PREP/stage.sh"

# parse_options NAME... -- "$@": set the variable TRAIN_MAX_WORDS from --train-max-words VALUE and
# so on. --help prints the comment at the head of the script.
parse_options() {
    local known="" name
    while [ "$1" != -- ]; do
        known+=" $(flag_of "$1")"
        shift
    done
    shift
    while [ $# -gt 0 ]; do
        if [ "$1" = -h ] || [ "$1" = --help ]; then
            sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"
            exit
        fi
        [[ " $known " == *" $1 "* ]] || fail "unknown option $1: choose from$known --help"
        [ $# -gt 1 ] || fail "$1 needs a value: see --help"
        name=${1#--}
        name=${name^^}
        printf -v "${name//-/_}" %s "$2"
        shift 2
    done
}

# flag_of TRAIN_MAX_WORDS: print --train-max-words.
flag_of() {
    local name=${1,,}
    echo "--${name//_/-}"
}

# require_choice NAME VALUE...: fail unless the option NAME has one of these values.
require_choice() {
    local choice
    for choice in "${@:2}"; do
        [ "$choice" != "${!1}" ] || return 0
    done
    fail "$(flag_of "$1") must be one of ${*:2}, got ${!1:-nothing}"
}

# require_whole NAME MIN: fail unless the option NAME is a whole number of at least MIN.
require_whole() {
    [[ ${!1} =~ ^(0|[1-9][0-9]{0,9})$ ]] && [ "${!1}" -ge "$2" ] ||
        fail "$(flag_of "$1") must be a whole number >= $2, got ${!1:-nothing}"
}

# require_model: fail unless MODEL is the folder of a pre-trained model; make it an absolute path.
require_model() {
    local file
    [ -n "$MODEL" ] || fail "--model is needed: the folder of a pre-trained model, see --help"
    for file in dict.txt tokenizer.json; do
        [ -f "$MODEL/$file" ] || fail "--model $MODEL has no $file: make it with floater convert"
    done
    MODEL=$(cd "$MODEL" && pwd)
}

# open_out FOLDER CORPUS: make the folder, which only one run at a time may fill; set OUT, its
# absolute path, and DOWNLOAD.
open_out() {
    local lock
    mkdir -p "$1" 2>/dev/null || fail "--out $1 cannot be made: choose another folder"
    OUT=$(cd "$1" && pwd)
    # Interface texts had manifest.json before they were made of stages.
    [ -e "$OUT/.stages" ] || { [ "$2" = localisation ] && [ -e "$OUT/manifest.json" ]; } ||
        [ -z "$(ls -I lost+found "$OUT")" ] ||
        fail "--out $1 has files, but none that such a script made: choose an empty folder"
    [[ $OUT != *[,:]* ]] || fail "--out $OUT has a comma or a colon, which fairseq takes for the end" \
        "of a path: choose another folder"
    exec {lock}<"$OUT" # open until this script and all that it has started have ended
    flock --nonblock "$lock" || {
        echo "--out $1 is being filled by another run: waiting for it to end" >&2
        flock "$lock"
    }
    DOWNLOAD=$(dirname "$OUT")/download/$2
}

# The last stages of every corpus. They read SOURCE, TARGET, SUBWORD (subword-nmt or
# sentencepiece), SIZE (merges or pieces), WORKERS and TESTS, an array of names.

# moses_words STEP...: make OUT/tok from OUT/raw, by these steps of moses.py.
moses_words() {
    stage tokenise "$OUT/raw" -- "$OUT/tok" -- apply_moses "$@"
}

apply_moses() {
    local split language
    mkdir "$OUT/tok.part"
    for split in train valid "${TESTS[@]}"; do
        for language in "$SOURCE" "$TARGET"; do
            python "$PREP/moses.py" --language "$language" --workers "$WORKERS" "$@" \
                <"$OUT/raw/$split.$language" >"$OUT/tok.part/$split.$language"
        done
    done
}

# subwords FOLDER: make OUT/bpe from the text in OUT/FOLDER, with one model of both languages.
subwords() {
    stage model "$OUT/$1/train.$SOURCE" "$OUT/$1/train.$TARGET" -- "$OUT/bpe.model" -- \
        learn_subwords "$OUT/$1/train.$SOURCE" "$OUT/$1/train.$TARGET"
    stage subwords "$OUT/$1" "$OUT/bpe.model" -- "$OUT/bpe" -- apply_subwords "$OUT/$1"
}

learn_subwords() {
    python "$PREP/subword.py" learn --method "$SUBWORD" --size "$SIZE" \
        ${SEPARATOR:+--symbol "$SEPARATOR"} "$OUT/bpe.model.part" "$@"
}

apply_subwords() {
    local split language
    mkdir "$OUT/bpe.part"
    for split in train valid "${TESTS[@]}"; do
        for language in "$SOURCE" "$TARGET"; do
            python "$PREP/subword.py" apply --method "$SUBWORD" \
                "$OUT/bpe.model" <"$1/$split.$language" >"$OUT/bpe.part/$split.$language"
        done
    done
}

# binarise: make OUT/bin from OUT/bpe; with JOINED=yes, also from joined neighbours in training.
binarise() {
    local train=$OUT/bpe
    if [ "${JOINED:-no}" = yes ]; then
        train=$OUT/joined
        stage join "$OUT/bpe" -- "$train" -- join_neighbours
    fi
    stage binarise "$OUT/bpe" "$train" -- "$OUT/bin" -- preprocess "$train"
}

# join_neighbours: write the training pairs, and then the first joined with the second, the second
# with the third and so on.
join_neighbours() {
    local language file
    mkdir "$OUT/joined.part"
    for language in "$SOURCE" "$TARGET"; do
        file=$OUT/bpe/train.$language
        cat "$file" >"$OUT/joined.part/train.$language"
        paste -d ' ' <(head -n -1 "$file") <(tail -n +2 "$file") \
            >>"$OUT/joined.part/train.$language"
    done
}

preprocess() {
    fairseq-preprocess --source-lang "$SOURCE" --target-lang "$TARGET" --joined-dictionary \
        --trainpref "$1/train" --validpref "$OUT/bpe/valid" \
        --testpref "$(IFS=, && echo "${TESTS[*]/#/$OUT/bpe/}")" \
        --destdir "$OUT/bin.part" --workers "$WORKERS"
}

# describe CORPUS TOKENIZER LOWERCASE [STEP...]: write OUT/corpus.json. The tokenizer is moses or
# null, and the steps are those of moses.py that the test sets went through. Also reads
# TRAIN_MAX_WORDS (0 is no limit), SEPARATOR (between the sentences of a line, if there is one)
# and JOINED.
describe() {
    stage describe -- "$OUT/corpus.json" -- write_description "$@"
}

write_description() {
    local tokenizer=$2 limit=$TRAIN_MAX_WORDS separator="" joined="" steps
    steps=$(printf '"%s", ' "${@:4}")
    [ $# -gt 3 ] || steps=""
    [ -z "${SEPARATOR:-}" ] || separator=$'\n'" \"separator\": \"$SEPARATOR\","
    [ "${JOINED:-no}" = no ] || joined=$'\n'" \"joined\": true,"
    [ "$tokenizer" = null ] || tokenizer="\"$tokenizer\""
    [ "$limit" -gt 0 ] || limit=null
    cat >"$OUT/corpus.json.part" <<JSON
{
 "corpus": "$1",
 "source": "$SOURCE",
 "target": "$TARGET",
 "tests": [$(printf '"%s", ' "${TESTS[@]}" | sed 's/, $//')],
 "tokenizer": $tokenizer,
 "steps": [${steps%, }],
 "lowercase": $3,
 "subword": "${SUBWORD/-/_}",$separator$joined
 "train_max_words": $limit
}
JSON
}

# summarise: check that all files are parallel, and show how much there is.
summarise() {
    local split folder files
    for split in train valid "${TESTS[@]}"; do
        files=()
        for folder in raw tok bpe; do
            [ ! -d "$OUT/$folder" ] || files+=("$OUT/$folder/$split.$SOURCE" "$OUT/$folder/$split.$TARGET")
        done
        python "$PREP/check.py" "${files[@]}"
    done
    python "$PREP/summary.py" "$OUT"
}
