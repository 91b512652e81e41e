#!/usr/bin/env bash
# Set up .venv if need be, check the style, and run the tests. Arguments go to pytest.
set -euo pipefail
unset CDPATH # with it cd prints, or leads elsewhere
cd "$(dirname "$0")/.."
source recipes/common.sh
setup_environment
# The settings in common.sh keep the allocator's pages for long trainings, and cost short ones time.
unset GLIBC_TUNABLES
# Hundreds of programs import the plugin, so it should be compiled only once.
unset PYTHONDONTWRITEBYTECODE
# What all tests' processes are forked from imports for ten seconds, meanwhile the style is checked.
# It ends when the descriptor is closed, at the end of pytest.
FORK_SERVER=$(realpath "$(mktemp -d)")
export FORK_SERVER
exec {open}> >(exec python tests/launching.py "$FORK_SERVER" >/dev/null)
ruff check .
ruff format --check .
mypy
while [ ! -S "$FORK_SERVER/plugin" ] && kill -0 $! 2>/dev/null; do sleep 0.1; done
kill -0 $! 2>/dev/null || fail "the fork servers did not start: see above"
# One process per core, with one thread each, and one more, since some tests wait for other processes.
# Tests of a file share the models that they have trained.
OMP_NUM_THREADS=1 exec python -m pytest -n "$(($(cores) + 1))" \
    --dist loadfile --no-loadscope-reorder "$@"
