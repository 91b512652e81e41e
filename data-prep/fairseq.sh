# Shared by iwslt14.sh and wmt14.sh, which do as fairseq's scripts do; to be sourced after
# common.sh.

export LC_ALL=C.UTF-8 # so that sed takes the same characters for white space everywhere

# get ADDRESS --md5|--sha256 HEX: download to DOWNLOAD; if there is a list CHECKSUMS, check by it.
get() {
    local check=("${@:2}")
    [ -z "$CHECKSUMS" ] || check=(--checksums "$CHECKSUMS")
    python "$PREP/fetch.py" "$1" "$DOWNLOAD/${1##*/}" "${check[@]}"
}

# need ARCHIVE FILE...: fail unless the archive had all these members.
need() {
    local file
    for file in "${@:2}"; do
        [ -f "$file" ] || fail "$1 lacks ${file#*/unpacked/}: get it from its publisher"
    done
}

# need_pairs ARCHIVE FILE FILE: fail unless both have text, in UTF-8, and the same number of lines.
need_pairs() {
    local why
    [ -s "$2" ] || fail "$1 has no text for ${2##*/}: get it from its publisher"
    why=$(python "$PREP/check.py" "$2" "$3" 2>&1) || {
        why=${why#error: }
        why=${why//"${2%/*}/"/}
        fail "$1: ${why%: *}: get it from its publisher"
    }
}

# segments: print the text of an SGML or XML file, which is in lines such as
# <seg id="1"> ... </seg>.
segments() {
    sed -n "/<seg id/{s/<seg id=\"[0-9]*\">\s*//g; s/\s*<\/seg>\s*//g; s/’/'/g; p}"
}

# hold_out N FILE VALID TRAIN: write every Nth line of a file to VALID, and the others to TRAIN.
hold_out() {
    sed -n "0~$1p" "$2" >"$3"
    sed "0~$1d" "$2" >"$4"
}

# moses LANGUAGE STEP...: a filter that applies these steps of moses.py.
moses() {
    python "$PREP/moses.py" --language "$1" --workers "$WORKERS" "${@:2}"
}

# limit_train FOLDER...: keep the training pairs with up to TRAIN_MAX_WORDS words in the source of
# the first folder; the files of the other folders are filtered in the same way.
limit_train() {
    local folder language file moves=()
    [ "$TRAIN_MAX_WORDS" -gt 0 ] || return 0
    for folder in "$@"; do
        for language in "$SOURCE" "$TARGET"; do
            file=$folder/train.$language
            mv "$file" "$file.all"
            moves+=("$file.all" "$file")
        done
    done
    python "$PREP/filter.py" --max-source-words "$TRAIN_MAX_WORDS" "${moves[0]}" "${moves[@]}"
    rm "${@/%//train.$SOURCE.all}" "${@/%//train.$TARGET.all}"
}
