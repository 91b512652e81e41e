#!/usr/bin/env bash
# Build the documentation into site/; open site/index.html. Arguments go to mkdocs.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
cd "$(dirname "$0")/.."
source recipes/common.sh
setup_environment docs
# Silence what Material, the theme, prints about other projects: it is not part of a build.
NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict "$@"
