#!/usr/bin/env bash
# Compare data-prep/moses.py with the Perl scripts of Moses: print how many lines of a text differ,
# and how many would differ with unchanged sacremoses.
#
#   bash recipes/benchmarks/moses.sh MOSES LANGUAGE FILE...
#
# MOSES is a clone of mosesdecoder. Prints a row of Markdown for each file; the columns are the
# steps of Multi30k, of Multi30k without lower-casing, of IWSLT14 and of WMT14.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/../common.sh"
[ $# -ge 3 ] || fail "give the folder of Moses, a language and files: see the head of $0"
setup_environment
MOSES=$1/scripts/tokenizer LANGUAGE=$2
[ -f "$MOSES/tokenizer.perl" ] || fail "no $MOSES/tokenizer.perl: clone mosesdecoder and name its folder"
shift 2

perl_step() {
    case $1 in
    lowercase) perl "$MOSES/lowercase.perl" ;;
    normalise) perl "$MOSES/normalize-punctuation.perl" -l "$LANGUAGE" ;;
    remove-non-printing) perl "$MOSES/remove-non-printing-char.perl" ;;
    tokenise) perl "$MOSES/tokenizer.perl" -q -l "$LANGUAGE" ;;
    tokenise-aggressive) perl "$MOSES/tokenizer.perl" -q -a -l "$LANGUAGE" ;;
    esac
}

perl_steps() {
    if [ $# -eq 0 ]; then cat; else perl_step "$1" | perl_steps "${@:2}"; fi
}

plain_sacremoses() {
    python - "$LANGUAGE" "$@" <<'PYTHON'
import os, sys
import sacremoses

language, *names = sys.argv[1:]
normaliser = sacremoses.MosesPunctNormalizer(language)
tokeniser = sacremoses.MosesTokenizer(language)
steps = {
    "lowercase": str.lower,
    "normalise": normaliser.normalize,
    "remove-non-printing": normaliser.remove_control_chars,
    "tokenise": lambda x: tokeniser.tokenize(x, return_str=True),
    "tokenise-aggressive": lambda x: tokeniser.tokenize(x, True, return_str=True),
}
with open(os.environ["TEXT"], encoding="utf-8", newline="\n") as text:
    for line in text:
        line = line.rstrip("\n")
        for name in names:
            line = steps[name](line)
        print(line)
PYTHON
}

differing() {
    paste -d $'\001' "$1" "$2" | awk -F $'\001' '$1 "" != $2' | wc -l
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for TEXT in "$@"; do
    export TEXT
    row="| $(basename "$TEXT") | $(wc -l <"$TEXT") |"
    for steps in "lowercase normalise tokenise" "normalise tokenise" "tokenise lowercase" \
        "normalise remove-non-printing tokenise-aggressive"; do
        perl_steps $steps <"$TEXT" >"$work/perl"
        python "$ROOT/data-prep/moses.py" --language "$LANGUAGE" $steps <"$TEXT" >"$work/ours"
        plain_sacremoses $steps >"$work/plain"
        row+=" $(differing "$work/perl" "$work/ours") / $(differing "$work/perl" "$work/plain") |"
    done
    echo "$row"
done
