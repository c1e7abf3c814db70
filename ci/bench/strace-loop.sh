#!/bin/bash
# Seconds per kill experiment on certbot: roulette, and beside it what one would write by hand, a
# loop of `strace -f -e inject=...:signal=SIGKILL`. Both in the same kind of world, one after the
# other, in one run; prints one table.
#
# The loop's experiment: restore the state, kill at the point, run again, compare key and
# certificate. Roulette's: the same, one more idle run, and every invariant. Without
# --seccomp-bpf: strace 6.1 loses the signal with it.
#
# usage: ci/bench/strace-loop.sh [POINTS]     (default 8; at most 8)
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
roulette=${ROULETTE:-$here/target/release/roulette}
scenario=$here/scenarios/certbot-plain.toml
points=${1:-8}
for program in certbot strace openssl python3; do
    command -v "$program" >/dev/null || { echo "$program is not installed: apt-get install $program" >&2; exit 4; }
done
[ -x "$roulette" ] || { echo "$roulette is not there: cargo build --release" >&2; exit 4; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cat >"$scratch/loop.sh" <<'LOOP'
set -euo pipefail
points=$1
mkdir -p /var/www/html
python3 -m http.server 80 --directory /var/www/html >/dev/null 2>&1 &
server=$!
trap 'kill $server' EXIT
until (exec 3<>/dev/tcp/127.0.0.1/80) 2>/dev/null; do sleep 0.1; done
certbot certonly -q --webroot -w /var/www/html -d example.com -n --agree-tos -m ops@example.com
conf=/etc/letsencrypt/renewal/example.com.conf
live=/etc/letsencrypt/live/example.com
# Due now. Once renewed, it is no longer, as with a certificate that really was old.
sed -i '1i renew_before_expiry = 200 days' "$conf"
cp -a /etc/letsencrypt /tmp/snapshot
old=$(openssl x509 -in $live/cert.pem -noout -fingerprint)
renew() { certbot renew -q --no-random-sleep-on-renew; }
begun=$(date +%s.%N)
for ((k = 1; k <= points; k++)); do
    rm -rf /etc/letsencrypt
    cp -a /tmp/snapshot /etc/letsencrypt
    strace -f -qq -o /dev/null -e trace=symlink -e inject=symlink:signal=SIGKILL:when=$k \
        certbot renew -q --no-random-sleep-on-renew && { echo "point $k was not killed" >&2; exit 1; }
    if [ "$(openssl x509 -in $live/fullchain.pem -noout -fingerprint 2>/dev/null)" != "$old" ]; then
        sed -i '/^renew_before_expiry/d' "$conf"
    fi
    renew || :
    openssl x509 -in $live/cert.pem -noout -pubkey 2>/dev/null |
        cmp -s - <(openssl pkey -in $live/privkey.pem -pubout 2>/dev/null) || :
done
echo "RESULT $begun $(date +%s.%N)"
LOOP

by_hand=$("$roulette" __world-shell private "$scenario" -- bash -c "$(cat "$scratch/loop.sh")" loop "$points" 2>&1) ||
    { echo "$by_hand" >&2; exit 1; }
jobs=$(($(nproc) * 3))
"$roulette" run "$scenario" --jobs "$jobs" --max-experiments $((points * 6)) --report json="$scratch/run.json" >/dev/null 2>&1 || :

python3 - "$scratch/run.json" "$points" "$jobs" "$(grep -m1 -o 'RESULT .*' <<<"$by_hand")" <<'TABLE'
import json, sys
run, points, jobs = json.load(open(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
_, begun, ended = sys.argv[4].split()
made = len([e for e in run["experiments"] if e["faults"]])
sweep = sum(e["wall_ms"] for e in run["experiments"] if e["faults"]) / 1000 / jobs / made
strace = (float(ended) - float(begun)) / points
ours = run["wall_s"] / made
print(f"{'':22}{'experiments':>12}{'s/experiment':>14}")
print(f"{'strace inject loop':22}{points:>12}{strace:>14.2f}")
print(f"{'roulette, with start':22}{made:>12}{ours:>14.2f}")
print(f"{'roulette, sweep alone':22}{made:>12}{sweep:>14.2f}")
print(f"{'ratio, sweep alone':22}{'':>12}{sweep / strace:>14.3f}")
TABLE
