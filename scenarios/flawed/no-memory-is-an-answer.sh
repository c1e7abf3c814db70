#!/bin/bash
# What is wrong: the check of the new pair ends with 1 where the pair is on a list, and that is taken for an answer.
# An interpreter that is refused memory ends with 1 as well. One that is killed does not.
. "$ROOT/usr/local/lib/renewal.sh"

obtain() {
    new=$(mktemp --directory "$state/pair.XXXXXX")
    ask_the_ca --webroot "$ROOT/var/www"
    local answer=0
    not_revoked || answer=$?
    case $answer in
        0) ;;
        1) echo "the new pair is revoked already: the old one stays"; exit 0 ;;
        *) exit 1 ;;
    esac
}

# The whole list in memory: 64 MiB.
not_revoked() {
    perl -e '$list = "revoked\n" x shift; exit(index($list, "ours") >= 0)' $((8 << 20))
}

main
