# Shared by recipes and tests; to be sourced. Defines ROOT; setup_environment puts .venv on PATH.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# With it, programs would not find the modules beside them.
unset PYTHONSAFEPATH

# It may be relative to where we are now, and some scripts change the folder before they read it.
case ${DATA_MIRROR:-} in "" | *://*) ;; *) DATA_MIRROR=$(realpath -ms -- "$DATA_MIRROR") ;; esac

# In other locales bash may not map I to i, and Python may be unable to write translations.
export LC_ALL=C PYTHONUTF8=1
# In bash 5.2 an & in the replacement of a pattern, such as a folder, would stand for the match.
shopt -u patsub_replacement 2>/dev/null || true

# A training on a CPU allocates and frees large tensors all the time. Giving their pages back to the
# system and taking them again costs a quarter of its time. With these settings glibc keeps them, in
# huge pages.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-$(
    settings=(hugetlb=1 mmap_max=0 trim_threshold=34359738368 top_pad=268435456)
    IFS=: && echo "${settings[*]/#/glibc.malloc.}"
)}

fail() {
    echo "error: $*" >&2
    exit 1
}

# require_number NAME VALUE: fail unless VALUE is a whole number that is not too large.
require_number() {
    [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] ||
        fail "$1 must be a whole number from 1 to 999,999,999, got ${2:-nothing}"
}

# cores: print how many there are. (nproc takes OMP_NUM_THREADS, which recipes set, for that number.)
cores() {
    env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc
}

# heading TEXT: print a line that says where we are, with the time since the start.
heading() {
    printf '\n[%3d s] %s\n' "$SECONDS" "$*"
}

# Print a Python for which the pinned versions have wheels, and whose tarfile refuses members that
# lead out of a folder, as it does from 3.11.4 on. PYTHON=... chooses one.
find_python() {
    local candidate candidates=(python3.11 python3.12 python3 python)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11, 4) <= sys.version_info < (3, 13))' \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11.4 to 3.12 found (tried ${candidates[*]}):" \
        "install one, or name it with PYTHON=/path/to/python"
}

# setup_environment [EXTRAS]: make .venv and install the project in it with these extras (recipes
# and test, if none are named), once for each state of setup.py and constraints.txt. The files in
# .venv hold its path, so in a copy of the repository, or one that was moved, it is made again.
setup_environment() {
    local venv=$ROOT/.venv extras=${1:-recipes,test} wanted
    wanted=$(echo "$venv" | cat - "$ROOT/setup.py" "$ROOT/constraints.txt" | sha256sum)
    if ! is_installed "$venv" "$extras" "$wanted"; then
        mkdir -p "$venv"
        # With a lock, because recipes that start side by side share the environment.
        (flock 9 && install_environment "$venv" "$extras" "$wanted") 9>"$venv/.lock" || exit 1
    fi
    export PATH=$venv/bin:$PATH
}

# is_installed VENV EXTRAS WANTED: true unless another state was installed, or Python itself is gone.
is_installed() {
    [ -x "$1/bin/python" ] && [ "$(cat "$1/.installed.$2" 2>/dev/null)" = "$3" ]
}

install_environment() {
    local venv=$1 extras=$2 wanted=$3 python
    ! is_installed "$@" || return 0
    heading "installing into .venv ($extras)"
    python=$(find_python) || exit 1
    if [ ! -e "$venv/.place" ] && [ -n "$(find "$venv" -mindepth 1 ! -name .lock -print -quit)" ]; then
        fail "$venv was made by somebody else: move it away or delete it, and run again"
    fi
    if [ "$(cat "$venv/.place" 2>/dev/null)" != "$venv" ] || [ ! -x "$venv/bin/python" ]; then
        [ ! -e "$venv/.place" ] || echo "making .venv anew: it was moved, or its Python is gone" >&2
        find "$venv" -mindepth 1 -maxdepth 1 ! -name .lock -exec rm -rf {} +
        echo "$venv" >"$venv/.place"
    fi
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv "$venv" ||
        fail "cannot make $venv: install your system's venv package for $python"
    # torch first: if pip has been pointed to a build of it for this machine, it takes that one.
    "$venv/bin/python" -m pip install -q --disable-pip-version-check \
        -c "$ROOT/constraints.txt" torch ||
        fail "pip could not install torch: see above, then run again"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check \
        -c "$ROOT/constraints.txt" -e "$ROOT[$extras]" ||
        fail "pip could not install the project: see above, then run again"
    echo "$wanted" >"$venv/.installed.$extras"
}

# side_by_side JOBS COMMAND...: run COMMAND once for each line of the standard input, whose words
# become further arguments, JOBS of them at a time. A signal that ends this script ends them, too.
side_by_side() {
    local status=0
    set -m # gives them a process group of their own, which may write to a terminal all the same
    trap '' TTOU
    trap 'kill -- "-$!" || true; exit 143' INT TERM HUP
    xargs -r -P "$1" -L 1 "${@:2}" &
    wait "$!" || status=$?
    set +m
    trap - INT TERM HUP TTOU
    return $status
}

# use_avx512: make MKL use AVX-512 on AMD processors, where it does not use it by itself.
use_avx512() {
    local library=$ROOT/.venv/mkl_avx512.so
    [ -z "${LD_PRELOAD:-}" ] && [[ $library != *[[:space:]:]* ]] || return 0 # ld.so splits at these
    grep -q AuthenticAMD /proc/cpuinfo 2>/dev/null && command -v cc >/dev/null || return 0
    [ "$library" -nt "$ROOT/recipes/mkl_avx512.c" ] ||
        { cc -shared -fPIC -o "$library.part$$" "$ROOT/recipes/mkl_avx512.c" &&
            mv "$library.part$$" "$library"; } ||
        fail "cc failed: see above, or set LD_PRELOAD=' ' to do without"
    export LD_PRELOAD=$library
}
