#!/usr/bin/env bash
# Build the documentation into site/; open site/index.html. Arguments go to mkdocs.
set -euo pipefail
unset CDPATH # by which cd prints, or leads elsewhere
cd "$(dirname "$0")/.."
source recipes/common.sh
setup_environment docs
# What material has to say about other projects is no part of a build.
NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict "$@"
