#!/bin/bash
# What is wrong: the next run finds nothing due, and reloads nothing.
. "$ROOT/usr/local/lib/renewal.sh"

main() {
    enter
    clean_up
    if due; then
        obtain
        install
        reload
    fi
}

main
