#!/bin/bash
# Do kills at random times agree with the sweep? For each scenario: the sweep's kills, then as many
# kills at random times, both judged alike. A random kill that broke a promise in a way that the sweep
# did not is a bug in points or in the tracer, and the exit code is 1.
#
# usage: ci/bench/agreement.sh [SCENARIO...]
#   FACTOR=3     so many times as many random kills as the sweep has
#   MOST=400     at most so many experiments each (the sweep's are spread over the whole run)
#   JOBS=N SEED=N
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
roulette=${ROULETTE:-$here/target/release/roulette}
factor=${FACTOR:-1} most=${MOST:-100000} seed=${SEED:-1}
jobs=()
[[ -z ${JOBS:-} ]] || jobs=(--jobs "$JOBS")
cd "$here/scenarios"
if [[ $# -eq 0 ]]; then
    set -- certbot-plain.toml lego.toml flawed/two-symlinks.toml flawed/reload-if-renewed.toml flawed/mkdir-lock.toml
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Runs roulette; what it breaks is told by its exit code, which is no error here.
play() {
    local code=0
    "$roulette" "$@" "${jobs[@]}" >"$work/out" 2>"$work/err" || code=$?
    case $code in
    0 | 1 | 3) ;;
    *) cat "$work/err" >&2; exit 4 ;;
    esac
}

# A finding's id is made of the promise, the phase and the cause: the class of what was violated.
classes() { sed -n 's/.*roulette replay \([^ ]*\).*/\1/p' "$work/out" | sort -u; }
experiments() { sed -n 's/^experiments *\([0-9]*\) in .*/\1/p' "$work/out" | head -n 1; }
violated() { awk '/^invariant /{on=1; next} on&&NF!=4{exit} on&&$3!="-"{n+=$3} END{print n+0}' "$work/out"; }

code=0
printf '%-24s %12s %10s %8s | %12s %10s %8s | %s\n' \
    scenario sweep violated classes random violated classes 'missed by the sweep'
for scenario; do
    play run "$scenario" --faults kill --max-experiments "$most"
    n=$(experiments) swept=$(violated)
    classes >"$work/sweep"
    play spin "$scenario" --faults kill --when times --most-faults 1 --no-save --seed "$seed" --count $((n * factor))
    m=$(experiments) spun=$(violated)
    classes >"$work/random"
    missed=$(comm -13 "$work/sweep" "$work/random")
    printf '%-24s %12s %10s %8s | %12s %10s %8s | %s\n' "$(basename "$scenario" .toml)" \
        "$n" "$swept" "$(wc -l <"$work/sweep")" "$m" "$spun" "$(wc -l <"$work/random")" "${missed:-none}"
    if [[ -n $missed ]]; then
        code=1
        cp "$work/out" "${TMPDIR:-/tmp}/agreement-$(basename "$scenario" .toml).txt"
        echo "  the random kills' report is ${TMPDIR:-/tmp}/agreement-$(basename "$scenario" .toml).txt" >&2
    fi
done
exit "$code"
