#!/usr/bin/env bash
# Prepare the interface texts of Home Assistant in two of about seventy languages: the corpus of the
# quick start, about 11,000 short pairs that need only a download of 43 MB.
#
#   bash data-prep/localisation.sh --source en --target de
#
#   --source LANGUAGE      default: en
#   --target LANGUAGE      default: de
#   --out FOLDER           default: runs/data/localisation.SOURCE-TARGET
#   --size N               pieces of both languages together (default: 4000)
#   --workers N            processes (default: one per core)
#   --checksums FILE       checksums of the download (default: data-prep/SHA256SUMS)
#
# They come in a PyPI package, homeassistant, which is read but neither unpacked nor installed.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"

SOURCE=en TARGET=de OUT="" SIZE=4000 WORKERS=$(cores) CHECKSUMS=$PREP/SHA256SUMS
parse_options SOURCE TARGET OUT SIZE WORKERS CHECKSUMS -- "$@"
[ "$SOURCE" != "$TARGET" ] || fail "--source and --target are both $SOURCE: choose two languages"
require_whole SIZE 1
require_whole WORKERS 1
SUBWORD=sentencepiece TRAIN_MAX_WORDS=0 TESTS=(test)
setup_environment
open_out "${OUT:-$ROOT/runs/data/localisation.$SOURCE-$TARGET}" localisation

WHEEL=$DOWNLOAD/homeassistant-2025.4.4-py3-none-any.whl
python "$PREP/fetch.py" pip:homeassistant==2025.4.4 "$WHEEL" --checksums "$CHECKSUMS"

plain_text() {
    python "$PREP/localisation.py" "$WHEEL" "$OUT/raw.part" --source "$SOURCE" --target "$TARGET"
}

stage raw "$WHEEL" -- "$OUT/raw" -- plain_text
cat "$OUT/.stages/raw.log"
subwords raw
describe localisation null false
binarise
summarise
