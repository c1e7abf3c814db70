#!/bin/bash
# What is wrong: the client is to survive the terminal, and does not inherit the lock; the reader of the log does, and dies.
. "$ROOT/usr/local/lib/renewal.sh"

ask_the_ca() {
    nohup guard obtain --quiet --locked --domain example.com --directory-url "$DIRECTORY_URL" --ca-bundle "$CA_BUNDLE" \
        --account "$state/account.json" --retries 100ms,300ms,900ms --poll 20ms \
        --certificate "$new/fullchain.pem" --key "$new/privkey.pem" "$@" 9>&-
}

# Every line with the time before it.
stamp_lines() {
    local line
    while read -r line; do echo "$EPOCHSECONDS $line"; done
}

main() {
    enter
    exec > >(stamp_lines) 2>&1
    clean_up
    if due; then
        obtain
        install
    fi
    reload
}

main
