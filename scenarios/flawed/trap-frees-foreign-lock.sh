#!/bin/bash
# What is wrong: the trap is set before the lock is taken, so that a refused run removes another's.
. "$ROOT/usr/local/lib/renewal.sh"

enter() {
    trap 'rmdir "$lock"' EXIT
    mkdir "$lock" || exit 75
}

main
