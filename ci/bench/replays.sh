#!/bin/bash
# Replays findings of stored runs again and again, and counts the verdicts: they must be the same
# every time.
#
# usage: ci/bench/replays.sh TIMES AT-ONCE FINDING...
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
export roulette=${ROULETTE:-$here/target/release/roulette}
[ $# -ge 3 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
times=$1 at_once=$2
shift 2
for finding; do
    printf '%s: ' "$finding"
    for ((i = 0; i < times; i++)); do echo "$finding"; done |
        xargs -P "$at_once" -I{} sh -c '"$roulette" replay {} 2>/dev/null | tail -n 1' |
        sort | uniq -c | tr -s ' ' | tr '\n' ';'
    echo
done
