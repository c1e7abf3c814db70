#!/bin/bash
# What is wrong: where two are waiting already, whoever has the lock is taken to be stuck, and the lock is taken from it.
. "$ROOT/usr/local/lib/renewal.sh"

enter() {
    local waiting
    exec 9>"$lock"
    flock --nonblock 9 && return
    waiting=$(pgrep --count --exact flock || true)
    if [[ $waiting -ge 2 ]]; then
        rm "$lock"
        exec 9>"$lock"
    fi
    flock 9
}

# Long enough for others to pile up, as with a slow CA.
ask_the_ca() {
    sleep 0.5
    guard obtain --quiet --locked --domain example.com --directory-url "$DIRECTORY_URL" --ca-bundle "$CA_BUNDLE" \
        --account "$state/account.json" --retries 100ms,300ms,900ms --poll 20ms \
        --certificate "$new/fullchain.pem" --key "$new/privkey.pem" "$@"
}

main
