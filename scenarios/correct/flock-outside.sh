#!/bin/bash
# Started by `flock --nonblock LOCK renew.sh`, as a line of a crontab would: the lock is this script's from its first
# line, and goes with its last process.
set -euo pipefail

site=$ROOT/srv/certificates
cd "$site"

# Runs are numbered; `current` names the one the server reads. Whatever else is here was left by a killed run, or is
# the pair before this one.
current=0
[[ ! -L current ]] || current=$(readlink current)
for run in [0-9]*; do
    [[ $run = "$current" || $run = '[0-9]*' ]] || rm -r "$run"
done
rm -f next

guard due --certificate current/fullchain.pem --key current/privkey.pem && due=yes || due=$?
case $due in
yes)
    run=$((current + 1))
    mkdir --mode 700 "$run"
    guard obtain --quiet --locked --domain example.com --directory-url "$DIRECTORY_URL" --ca-bundle "$CA_BUNDLE" \
        --webroot "$ROOT/var/www" --account account.json --retries 100ms,300ms,900ms --poll 20ms \
        --certificate "$run/fullchain.pem" --key "$run/privkey.pem"
    ln -s "$run" next
    mv -T next current
    ;;
1) ;;
*) exit "$due" ;;
esac

ondisk=$(guard fingerprint current/fullchain.pem)
# 1: no answer, as from a server that has no certificate yet.
served=$(guard served --address "$SERVER" --name example.com) || [[ $? -eq 1 ]]
if [[ $ondisk != "$served" ]]; then
    systemctl reload nginx
    guard served --address "$SERVER" --name example.com --wait-for current/fullchain.pem --within 5s
fi
