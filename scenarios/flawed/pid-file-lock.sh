#!/bin/bash
# What is wrong: whether the process in the file still lives is never asked, and SIGKILL runs no trap.
. "$ROOT/usr/local/lib/renewal.sh"

lock=$ROOT/run/renewal.pid

enter() {
    [[ ! -e $lock ]] || exit 75
    echo $$ >"$lock"
    trap 'rm "$lock"' EXIT
}

main
