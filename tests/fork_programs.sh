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

# The scripts that import fairseq, the plugin or sacremoses.
python() {
    case $1 in
    */recipes/samples.py | */recipes/weights_id.py | */data-prep/moses.py | */data-prep/pieces.py | \
        */data-prep/squad.py | */data-prep/race.py | */data-prep/plain.py)
        "$FORK_PYTHON" -IS "$FORK_CLIENT" "$@"
        ;;
    *) command python "$@" ;;
    esac
}
