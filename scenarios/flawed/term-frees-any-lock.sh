#!/bin/bash
# What is wrong: on SIGTERM the lock file is removed, whoever has it. A run that is terminated while another one is at
# work lets a third one in.
. "$ROOT/usr/local/lib/renewal.sh"

enter() {
    trap 'rm --force "$lock"; exit 143' TERM
    exec 9>"$lock"
    flock --nonblock 9 || exit 75
}

main
