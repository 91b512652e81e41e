#!/usr/bin/env bash
# Prepare multiple-choice questions about passages for a pre-trained model.
#
#   bash data-prep/race.sh --corpus mctest --model runs/models/minilm/base
#
#   --corpus NAME      race (Lai et al. 2017; 25 MB): from English examinations in China. mctest
#                      (Richardson et al. 2013; 1.5 MB): 660 stories for children, four questions
#                      each
#   --model FOLDER     with the model's dict.txt and tokenizer.json, as floater convert writes them
#   --out FOLDER       default: runs/data/NAME
#   --checksums FILE   checksums of the files of MCTest (default: data-prep/SHA256SUMS)
#
# bin/ is what --task floater_multiple_choice takes: train, valid, test and test1.jsonl. In RACE,
# test has the questions of middle schools and test1 those of high schools; in MCTest, test has the
# questions of its larger part and test1 those of its smaller part.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"

CORPUS=race MODEL="" OUT="" CHECKSUMS=$PREP/SHA256SUMS
parse_options CORPUS MODEL OUT CHECKSUMS -- "$@"
require_choice CORPUS race mctest
require_model
setup_environment
open_out "${OUT:-$ROOT/runs/data/$CORPUS}" "$CORPUS"

MCTEST=https://raw.githubusercontent.com/mcobzarenco/mctest/master/data/MCTest
files=()
if [ "$CORPUS" = race ]; then
    files=("$DOWNLOAD/RACE.tar.gz")
    python "$PREP/fetch.py" http://www.cs.cmu.edu/~glai1/data/race/RACE.tar.gz "${files[0]}" \
        --sha256 b2769cc9fdc5c546a693300eb9a966cec6870bd349fbc44ed5225f8ad33006e5
else
    for name in mc{160,500}.{train,dev,test}.{tsv,ans}; do
        files+=("$DOWNLOAD/$name")
        python "$PREP/fetch.py" "$MCTEST/$name" "${files[-1]}" --checksums "$CHECKSUMS"
    done
fi

split_up() {
    local published=$DOWNLOAD
    if [ "$CORPUS" = race ]; then
        published=$OUT/unpacked.part/RACE
        rm -rf "$OUT/unpacked.part" # of an interrupted run
        python "$PREP/unpack.py" "${files[0]}" "$OUT/unpacked.part" --member 'RACE/*.txt'
    fi
    python "$PREP/race.py" "$CORPUS" "$published" --out "$OUT/bin.part"
    rm -rf "$OUT/unpacked.part"
    cp "$MODEL"/{dict.txt,tokenizer.json} "$OUT/bin.part/"
}

stage splits "${files[@]}" "$MODEL"/{dict.txt,tokenizer.json} -- "$OUT/bin" -- split_up
grep -v MB "$OUT/.stages/splits.log"
