#!/bin/bash
# What is wrong: between the two renames the new key lies beside the old certificate.
. "$ROOT/usr/local/lib/renewal.sh"

certificate=$state/fullchain.pem
key=$state/privkey.pem

install() {
    mv "$new/privkey.pem" "$key"
    mv "$new/fullchain.pem" "$certificate"
    rmdir "$new"
}

main
