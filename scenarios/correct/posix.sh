#!/bin/sh
# Nothing but POSIX sh, and flock(1).
set -eu
umask 077

home=$ROOT/var/lib/renewal
pair=$home/pair

exec 9>"$ROOT/run/renewal.lock"
flock -n 9 || exit 75

# `pair` names one of two slots: the other one is free, whatever is in it.
slot=one
if [ -L "$pair" ]; then
    live=$(readlink "$pair")
    [ "$live" = two ] || slot=two
fi

answer=0
guard due --certificate "$pair/chain.pem" --key "$pair/key.pem" || answer=$?
if [ "$answer" -gt 1 ]; then
    exit "$answer"
elif [ "$answer" -eq 0 ]; then
    rm -rf "$home/${slot:?}" "$home/next"
    mkdir "$home/$slot"
    guard obtain --quiet --locked --domain example.com --directory-url "$DIRECTORY_URL" --ca-bundle "$CA_BUNDLE" \
        --webroot "$ROOT/var/www" --account "$home/account.json" --retries 100ms,300ms,900ms --poll 20ms \
        --certificate "$home/$slot/chain.pem" --key "$home/$slot/key.pem"
    ln -s "$slot" "$home/next"
    mv -T "$home/next" "$pair"
fi

answer=0
guard served --address "$SERVER" --name example.com --wait-for "$pair/chain.pem" --within 50ms || answer=$?
if [ "$answer" -eq 3 ]; then
    systemctl reload nginx
    guard served --address "$SERVER" --name example.com --wait-for "$pair/chain.pem" --within 5s
else
    exit "$answer"
fi
