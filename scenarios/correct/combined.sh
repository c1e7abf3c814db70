#!/bin/bash
# Key and chain in one file, as HAProxy reads them: one file, one rename, and nothing that could be torn.
. "$ROOT/usr/local/lib/renewal.sh"

certificate=$state/combined.pem
key=$state/combined.pem

install() {
    cat "$new/privkey.pem" "$new/fullchain.pem" >"$certificate.new"
    mv "$certificate.new" "$certificate"
}

main
