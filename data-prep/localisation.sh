#!/usr/bin/env bash
# Interface texts of Home Assistant in about seventy languages: the corpus of the quick start, about
# 11,000 short pairs that need only a download of 43 MB. See localisation.py.
#
#   bash data-prep/localisation.sh --source en --target de --out runs/data/localisation.en-de
#
#   --source LANGUAGE  default: en
#   --target LANGUAGE  default: de
#   --out FOLDER       default: runs/data/localisation.SOURCE-TARGET
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
source "$(dirname "$0")/common.sh"

SOURCE=en TARGET=de OUT=""
parse_options SOURCE TARGET OUT -- "$@"
TESTS=(test) SUBWORD=sentencepiece WORKERS=2 TRAIN_MAX_WORDS=0
open_out "${OUT:-$ROOT/runs/data/localisation.$SOURCE-$TARGET}" localisation

setup_environment
python "$PREP/localisation.py" --source "$SOURCE" --target "$TARGET" --out "$OUT" \
    --work "$DOWNLOAD" # cleans, splits and makes subwords, each unless it is done
binarise
describe localisation null false
