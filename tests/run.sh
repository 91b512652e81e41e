#!/usr/bin/env bash
# Set up .venv if need be, check the style, run the tests. Arguments go to pytest.
set -euo pipefail
unset CDPATH # by which cd prints, or leads elsewhere
cd "$(dirname "$0")/.."
source recipes/common.sh
setup_environment
ruff check .
ruff format --check .
mypy
# A process for each core, with one thread each, and one more, since some tests wait for others'
# processes; tests of a file share what they have trained.
# (nproc alone takes OMP_NUM_THREADS for the number of cores.)
# What keeps the allocator's pages for long trainings costs short ones time.
unset GLIBC_TUNABLES
# Hundreds of programs import the plugin: it is compiled once.
unset PYTHONDONTWRITEBYTECODE
OMP_NUM_THREADS=1 exec python -m pytest tests -n "$(($(env -u OMP_NUM_THREADS nproc) + 1))" \
    --dist loadfile --no-loadscope-reorder "$@"
