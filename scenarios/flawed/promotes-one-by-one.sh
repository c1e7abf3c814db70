#!/bin/bash
# What is wrong: what a killed run had obtained is put in place file by file by the next one. Only a run that is killed
# there, after one that was killed before it, leaves a torn pair.
. "$ROOT/usr/local/lib/renewal.sh"

pending=$state/pending

is_ready() {
    local answer=0
    guard due --certificate "$pending/fullchain.pem" --key "$pending/privkey.pem" 2>&- || answer=$?
    case $answer in
    0) return 1 ;;
    1) return 0 ;;
    *) exit "$answer" ;;
    esac
}

enter
clean_up
if due; then
    if is_ready; then
        mv "$pending/fullchain.pem" "$certificate"
        mv "$pending/privkey.pem" "$key"
    else
        mkdir --parents "$pending"
        new=$pending
        ask_the_ca --webroot "$ROOT/var/www"
        new=$state/pair.$(date +%s%N)
        mv --no-target-directory "$pending" "$new"
        install
    fi
fi
[[ ! -e $pending ]] || rm -r "$pending"
reload
