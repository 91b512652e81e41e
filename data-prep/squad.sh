#!/usr/bin/env bash
# Prepare questions about passages (SQuAD: Rajpurkar et al. 2016, 2018) for a pre-trained model.
#
#   bash data-prep/squad.sh --corpus 2.0 --model runs/models/minilm/base
#
#   --corpus NAME      1.1 or 2.0: the training and development sets as published. half-1.1 or
#                      half-2.0: half of the development set of 2.0, as a Stanford course has it, to
#                      train on; half-1.1 is tested on XQuAD's English questions about other
#                      articles; half-2.0 has no test set, and is validated on every fourth article
#   --model FOLDER     with the model's dict.txt and tokenizer.json, as floater convert writes them
#   --out FOLDER       default: runs/data/squad.NAME
#
# bin/ is what --task floater_question_answering takes. Its train.json and valid.json, and the
# test.json of half-1.1, are laid out as the published files are. In test1.json and test2.json,
# which are identical, the passages of an article are joined into one, longer than most models'
# positions.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"

CORPUS=2.0 MODEL="" OUT=""
parse_options CORPUS MODEL OUT -- "$@"
require_choice CORPUS 1.1 2.0 half-1.1 half-2.0
require_model
setup_environment
open_out "${OUT:-$ROOT/runs/data/squad.$CORPUS}" squad

SQUAD=rajpurkar.github.io/SQuAD-explorer/dataset
GITHUB=https://raw.githubusercontent.com

# get FILE CHECKSUM [ADDRESS]: download FILE from SQuAD's page, or from ADDRESS.
files=()
get() {
    files+=("$DOWNLOAD/$1")
    python "$PREP/fetch.py" "${3:-https://$SQUAD/$1}" "${files[-1]}" --mirrored "$SQUAD/$1" "$2"
}
case $CORPUS in
1.1)
    get train-v1.1.json --md5=981b29407e0affa3b1b156f72073b945
    get dev-v1.1.json --md5=3e85deb501d4e538b6bc56f786231552
    ;;
2.0)
    get train-v2.0.json --md5=62108c273c268d70893182d5cf8df740
    get dev-v2.0.json --md5=246adae8b7002f8679c027697b0b7cf8
    ;;
half-*)
    get dev-v2.0.subset-cs224n.json \
        --sha256=e67e5969b6dc6c1642154740806b79263b77fc048c7c11ee60d534eb48ef81e8 \
        "$GITHUB/chrischute/squad/85623adeb9e6639f145081fea9cae2d8f3a26379/data/dev-v2.0.json"
    get dev-v1.1.subset-xquad.json \
        --sha256=e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29 \
        "$GITHUB/google-deepmind/xquad/7d30520c717524000f0d9d2f9c10a069acd9d285/xquad.en.json"
    ;;
esac

split_up() {
    python "$PREP/squad.py" "$CORPUS" "$DOWNLOAD" --out "$OUT/bin.part"
    cp "$MODEL"/{dict.txt,tokenizer.json} "$OUT/bin.part/"
}

stage splits "${files[@]}" "$MODEL"/{dict.txt,tokenizer.json} -- "$OUT/bin" -- split_up
cat "$OUT/.stages/splits.log"
