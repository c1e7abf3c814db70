#!/bin/bash
# What is wrong: a download whose nonce was refused is asked for again as it was, until it is there.
. "$ROOT/usr/local/lib/renewal.sh"
. "$ROOT/usr/local/lib/acme.sh"

download() {
    local first=$nonce
    sign_and_send "$1" ''
    until [[ $status == 200 ]]; do
        sleep 0.1
        nonce=$first
        sign_and_send "$1" ''
    done
    printf '%s\n' "$body" >"$new/fullchain.pem"
}

main
