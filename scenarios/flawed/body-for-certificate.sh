#!/bin/bash
# What is wrong: whatever the CA sends is the certificate. No status is looked at, and no content.
. "$ROOT/usr/local/lib/renewal.sh"
. "$ROOT/usr/local/lib/acme.sh"

download() {
    post "$1" ''
    printf '%s\n' "$body" >"$new/fullchain.pem"
}

main
