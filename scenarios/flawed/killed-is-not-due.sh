#!/bin/bash
# What is wrong: a client that was killed is taken for one that found nothing to do.
. "$ROOT/usr/local/lib/renewal.sh"

obtain() {
    new=$(mktemp --directory "$state/pair.XXXXXX")
    ask_the_ca --webroot "$ROOT/var/www" || exit 0
}

main
