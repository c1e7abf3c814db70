#!/bin/bash
# What is wrong: a lock file that is removed while it is locked keeps nobody out.
. "$ROOT/usr/local/lib/renewal.sh"

enter() {
    rm -f "$lock"
    exec 9>"$lock"
    flock --nonblock 9 || exit 75
}

main
