#!/bin/bash
# What is wrong: nobody looks for what earlier runs left.
. "$ROOT/usr/local/lib/renewal.sh"

clean_up() { :; }

obtain() {
    new=$(mktemp --directory "$state/tmp.XXXXXX")
    ask_the_ca --webroot "$ROOT/var/www"
    mv "$new" "${new/tmp./pair.}"
    new=${new/tmp./pair.}
}

main
