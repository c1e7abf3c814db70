#!/bin/bash
# CPU time of a traced against an untraced run, of the whole process tree and the tracer:
# `certbot renew` (nothing due: the same work each time) and 900 short processes of bash.
# The targets are 1.10 and 1.30.
#
# usage: ci/bench/overhead.sh [TIMES]         (default 5)
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v certbot >/dev/null || { echo "certbot is not installed: apt-get install certbot" >&2; exit 4; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
measure() { cargo run -q --release -p process-roulette-tracer --example overhead -- -n "${times}" "$@"; }
times=${1:-5}
echo "certbot renew"
measure certbot renew -q --no-random-sleep-on-renew \
    --config-dir "$scratch/etc" --work-dir "$scratch/work" --logs-dir "$scratch/log"
echo "bash, 900 processes"
measure bash -c 'for ((i = 0; i < 900; i++)); do /bin/true; done'
