#!/bin/bash
# What is wrong: the answer is old when the lock is finally taken.
. "$ROOT/usr/local/lib/renewal.sh"

main() {
    if due; then
        enter
        clean_up
        obtain
        install
    else
        enter
    fi
    reload
}

main
