#!/bin/bash
# What is wrong: nobody removes the directory of a run that was killed.
. "$ROOT/usr/local/lib/renewal.sh"

enter() {
    mkdir "$lock" || exit 75
    trap 'rmdir "$lock"' EXIT
}

main
