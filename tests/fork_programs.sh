# Read by bash before each script of a test (BASH_ENV), and by those that the script starts: the
# programs that import fairseq are run by fork_client.py. Which file each is, PATH says as ever.

forked() {
    "$FORK_PYTHON" -IS "$FORK_CLIENT" "$(type -P "$1")" "${@:2}"
}
fairseq-preprocess() { forked fairseq-preprocess "$@"; }
fairseq-hydra-train() { forked fairseq-hydra-train "$@"; }
fairseq-train() { forked fairseq-train "$@"; }
fairseq-generate() { forked fairseq-generate "$@"; }
floater() { forked floater "$@"; }

# And the scripts.
python() {
    case $1 in
    */recipes/samples.py | */recipes/weights_id.py | */data-prep/*.py)
        "$FORK_PYTHON" -IS "$FORK_CLIENT" "$@"
        ;;
    *) command python "$@" ;;
    esac
}
