# Bash reads this before each script of a test (BASH_ENV), and before those that the script starts.
# fairseq's programs, floater and our Python scripts are then run by fork_client.py. PATH still
# determines which file a program is.

forked() {
    "$FORK_PYTHON" -IS "$FORK_CLIENT" "$(type -P "$1")" "${@:2}"
}
fairseq-preprocess() { forked fairseq-preprocess "$@"; }
fairseq-hydra-train() { forked fairseq-hydra-train "$@"; }
fairseq-train() { forked fairseq-train "$@"; }
fairseq-generate() { forked fairseq-generate "$@"; }
floater() { forked floater "$@"; }

# All other scripts are run as usual.
python() {
    case $1 in
    */recipes/samples.py | */recipes/weights_id.py | */data-prep/*.py)
        "$FORK_PYTHON" -IS "$FORK_CLIENT" "$@"
        ;;
    *) command python "$@" ;;
    esac
}
