#!/usr/bin/env bash
# Run the fast tests with several versions of Python and the dependencies, and print the results as a table.
#
#   tests/environments.sh                    all Python versions from 3.11 to 3.14 on PATH, all sets
#   tests/environments.sh newest             one set
#   PYTHONS="python3.13 /opt/python3.14/bin/python3" tests/environments.sh pinned newest
#
# Sets of versions:
#   pinned   the versions in constraints.txt
#   newest   the newest versions that pyproject.toml allows
#   lowest   the oldest versions that pyproject.toml allows; for the first Python only, since old packages have no
#            wheels for newer Pythons
#
# Environments (about 6 GB each) are built one after another in ENVIRONMENTS (default: a new temporary folder) and
# deleted after the tests. The logs PYTHON-SET.log are kept. TESTS lists the files to run (default: tests). WORKERS is the
# number of parallel tests (default: 2). Tests marked slow, browser or gpu are skipped. An environment takes about 15
# minutes on two cores. The exit status is 0 if every environment was built and no test failed.
set -uo pipefail
cd "$(dirname "$0")/.."

folder="$(mkdir -p "${ENVIRONMENTS:=$(mktemp -d)}" && cd "$ENVIRONMENTS" && pwd)"
read -r -a sets <<<"${*:-pinned newest lowest}"
read -r -a pythons <<<"${PYTHONS:-$(for minor in 11 12 13 14; do command -v "python3.$minor"; done | xargs)}"
tests="${TESTS:-tests}"
if [ "${#pythons[@]}" -eq 0 ]; then
    echo "No python3.11 to python3.14 on PATH. Set PYTHONS to a list of interpreters." >&2
    exit 2
fi

# The pip constraints of a set.
constraints() {
    case "$1" in
        pinned) cat constraints.txt ;;
        newest) ;;
        lowest) # of the core and the recipes; plots is the last of these extras in the file
            sed -n '/^dependencies = \[/,/^plots = /p' pyproject.toml | grep -oE '[a-z0-9-]+>=[0-9.]+' | sed 's/>=/==/' | sort -u
            ;;
        *)
            echo "Unknown set $1; expected pinned, newest or lowest." >&2
            return 1
            ;;
    esac
}

# The version of a package in the environment, or a dash if it is missing.
version() {
    "$environment/bin/python" -c "import importlib.metadata as m; print(m.version('$1'))" 2>/dev/null || echo -
}

# The number of tests with an outcome, from the last line of pytest.
count() {
    grep -E '^=*.* in [0-9.]+s' "$log" | tail -1 | grep -oE "[0-9]+ $1" | grep -oE '[0-9]+' || echo 0
}

row="%-8s %-7s %-9s %-13s %-9s %-11s %-7s %-7s %s\n"
table="$(printf "$row" Python set torch transformers datasets accelerate passed failed minutes)"$'\n'
status=0
for python in "${pythons[@]}"; do
    release="$("$python" -c 'import platform; print(platform.python_version())')" || exit 2
    for set in "${sets[@]}"; do
        [ "$set" = lowest ] && [ "$python" != "${pythons[0]}" ] && continue
        environment="$folder/environment" log="$folder/$release-$set.log" start=$SECONDS
        constraints "$set" >"$folder/constraints.txt" || exit 2
        rm -rf "$environment"
        echo "Python $release, $set versions: log in $log"
        passed=0 failed="not built"
        if {
            "$python" -m venv "$environment" &&
                "$environment/bin/python" -m pip install --quiet -c "$folder/constraints.txt" --editable ".[dev]"
        } >"$log" 2>&1; then
            "$environment/bin/python" -m pip freeze >>"$log"
            # shellcheck disable=SC2086 # TESTS holds several words
            OMP_NUM_THREADS=1 "$environment/bin/python" -m pytest -n "${WORKERS:-2}" --dist worksteal -q \
                -m "not slow and not browser and not gpu" $tests >>"$log" 2>&1 || status=1
            passed="$(count passed)" failed="$(($(count failed) + $(count error)))"
            [ "$passed" = 0 ] && status=1
        else
            status=1
        fi
        table+="$(printf "$row" "$release" "$set" "$(version torch)" "$(version transformers)" "$(version datasets)" \
            "$(version accelerate)" "$passed" "$failed" "$(((SECONDS - start + 30) / 60))")"$'\n'
        rm -rf "$environment"
    done
done
printf "\n%s" "$table" | tee "$folder/table.txt"
exit $status
