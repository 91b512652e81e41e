#!/usr/bin/env bash
# Set up .venv if need be, check the style, run the tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source recipes/common.sh
setup_environment
ruff check .
ruff format --check .
exec python -m pytest tests "$@"
