#!/bin/bash
# What is wrong: after a run that was killed the note keeps all others of the day from trying again.
. "$ROOT/usr/local/lib/renewal.sh"

due() {
    local today seen=
    today=$(date +%F)
    [[ ! -e $state/seen-to ]] || seen=$(<"$state/seen-to")
    [[ $seen != "$today" ]] || return 1
    echo "$today" >"$state/seen-to"
    guard due --certificate "$certificate" --key "$key"
}

main
