#!/bin/bash
# What is wrong: the check of the new pair is tried again until it works. A check that was killed once works the next
# time; one that the machine has no memory for never does, and the lock is held as long.
. "$ROOT/usr/local/lib/renewal.sh"

obtain() {
    new=$(mktemp --directory "$state/pair.XXXXXX")
    ask_the_ca --webroot "$ROOT/var/www"
    until not_revoked; do sleep 0.1; done
}

# The whole list in memory: 32 MiB.
not_revoked() {
    awk 'BEGIN { list = "revoked\n"; while (length(list) < 33554432) list = list list }'
}

main
