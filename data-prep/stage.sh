# Stages that run once; to be sourced. Uses OUT, the folder of the corpus, and PREP, that of the
# programs; keeps a marker and a log of every stage in OUT/.stages.

# stage NAME INPUT... -- OUTPUT... -- COMMAND...: run a stage unless it is done.
#
# Inputs and outputs are files or folders. COMMAND, a program or a shell function, writes
# OUTPUT.part for each OUTPUT; once it has succeeded they are renamed, so that outputs are whole or
# absent. The marker of a stage records what they were made from. The stage is run again if any of
# this has changed since: the command, a function that it calls, a program in data-prep or a command
# of floater that they name, what these import from this project, a variable in capitals, an input
# or an output.
stage() {
    local name=$1 marker=$OUT/.stages/$1 log=$OUT/.stages/$1.log start=$SECONDS
    local inputs=() outputs=() path made status last
    shift
    while [ "$1" != -- ]; do inputs+=("$1") && shift; done
    shift
    while [ "$1" != -- ]; do outputs+=("$1") && shift; done
    shift
    for path in "${inputs[@]}"; do
        [ -e "$path" ] || fail "$name: its input $path is missing: run the script that makes it"
    done
    made=$(definition "$@" && digest "${inputs[@]}")
    if [ "$(cat "$marker" 2>/dev/null)" = "$(echo "$made" && digest "${outputs[@]}")" ]; then
        echo "$name: unchanged, skipped"
        return
    fi
    echo "$name: working ..."
    rm -rf "$marker" "${outputs[@]/%/.part}"
    for path in "$marker" "${outputs[@]}"; do mkdir -p "$(dirname "$path")"; done
    # Not "( ... ) || ...": a command before || runs without -e.
    set +e
    (set -e && "$@") >"$log" 2>&1 </dev/null
    status=$?
    set -e
    if [ $status -ne 0 ]; then
        rm -rf "${outputs[@]/%/.part}"
        last=$(tr '\r' '\n' <"$log" | sed '/^ *$/d' | tail -n 1)
        fail "$name: ${last:+${last#error: }: }see $log"
    fi
    for path in "${outputs[@]}"; do
        [ -e "$path.part" ] || fail "$name: ended without making $path: see $log"
    done
    for path in "${outputs[@]}"; do
        rm -rf "$path"
        mv "$path.part" "$path"
    done
    (echo "$made" && digest "${outputs[@]}") >"$marker"
    echo "$name: $((SECONDS - start)) s"
}

# digest PATH...: print the name and sha256 of each of these files, and of those in these folders.
# Links are followed, and what does not exist is left out.
digest() {
    local path sums there=()
    for path in "$@"; do [ ! -e "$path" ] || there+=("$path"); done
    [ ${#there[@]} -gt 0 ] || return 0
    sums=$(find -L "${there[@]}" -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum) ||
        fail "not all of ${there[*]} can be read, see above: fix that and run again"
    echo "${sums//"$OUT/"/}"
}

# imports FILE...: print the paths of these programs and of all that they import from this project,
# one per line. Of a folder of modules, that is only what is asked for and what the folder itself
# imports.
imports() {
    local -A known=()
    local path module names more
    while [ $# -gt 0 ]; do
        for path; do known[$path]=1; done
        mapfile -t more < <(
            sed -nE 's/^ *(from|import) +([a-z_][a-z0-9_.]*)( +import +([a-z_, ]+))?.*/\2 \4/p' "$@" |
                while read -r module names; do
                    if [ "$module" = fairseq_floater ]; then # it imports all; the names are modules
                        names=(${names//,/ })
                        module=${names[*]/#/fairseq_floater.}
                    fi
                    for module in ${module//.//}; do
                        for path in "$PREP/$module.py" "$PREP/../$module"{,/__init__}.py; do
                            [ ! -e "$path" ] || [ -n "${known[$path]:-}" ] || echo "$path"
                        done
                    done
                done | sort -u
        )
        set -- ${more[@]+"${more[@]}"}
    done
    printf '%s\n' "${!known[@]}"
}

# definition COMMAND...: print a hash of all that determines what a command does: the command, the
# functions it calls, the programs that these name, what these import, and the values of variables
# in capitals. (It starts few processes: a corpus has a dozen stages, and most are unchanged.)
definition() {
    local text="$*" found="$*" name names rest path sums
    local -A seen=() programs=() variables=()
    while [ -n "$found" ]; do
        names=${found//[^a-z_]/ }
        found=""
        for name in $names; do
            [ -z "${seen[$name]:-}" ] && declare -F "$name" >/dev/null || continue
            seen[$name]=1
            found+=$'\n'$(declare -f "$name")
        done
        text+=$found
    done
    for name in ${text//[^a-z0-9_.]/ }; do
        [[ $name != *.py ]] || [ ! -e "$PREP/$name" ] || programs[$PREP/$name]=1
    done
    rest=$text
    while [[ $rest =~ (^|[[:space:]])floater\ ([a-z-]+)(.*) ]]; do
        rest=${BASH_REMATCH[3]}
        path=$PREP/../fairseq_floater/commands/${BASH_REMATCH[2]//-/_}.py
        [ ! -e "$path" ] || programs[$path]=1
    done
    # Locations and the number of workers make no difference.
    names=${text//\$/ \$}
    for name in ${names//[^A-Z_$\{#!]/ }; do
        [[ $name =~ ^\$\{?[#!]?([A-Z_]+) ]] || continue
        name=${BASH_REMATCH[1]}
        [[ " OUT DOWNLOAD ROOT PREP WORKERS SECONDS " == *" $name "* ]] || variables[$name]=1
    done
    {
        echo "${text//"$OUT/"/}"
        if [ ${#programs[@]} -gt 0 ]; then
            sums=$(imports "${!programs[@]}" | LC_ALL=C sort | xargs -d '\n' sha256sum)
            echo "${sums//"$PREP/"/}"
        fi
        # bash marks variables that the environment has, too, by an x, which makes no difference.
        [ ${#variables[@]} -eq 0 ] || { declare -p "${!variables[@]}" 2>/dev/null || true; } |
            sed -E 's/^declare -x /declare -- /; s/^declare -([a-z]+)x /declare -\1 /' | sort
    } | sha256sum
}
