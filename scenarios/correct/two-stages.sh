#!/bin/bash
# Obtains into `pending`, then promotes it. A whole pending pair that a killed run left is promoted by the next run,
# which does not ask the CA for another one.
. "$ROOT/usr/local/lib/renewal.sh"

pending=$state/pending
new=$state/pair

# Whole, matching, and not due.
is_ready() {
    local answer=0
    guard due --certificate "$pending/fullchain.pem" --key "$pending/privkey.pem" 2>&- || answer=$?
    case $answer in
    0) return 1 ;;
    1) return 0 ;;
    *) exit "$answer" ;;
    esac
}

promote() {
    new=$state/pair.$(date +%s%N)
    mv --no-target-directory "$pending" "$new"
    install
}

enter
clean_up
if due; then
    if ! is_ready; then
        mkdir --parents "$pending"
        new=$pending
        ask_the_ca --webroot "$ROOT/var/www"
    fi
    promote
elif [[ -e $pending ]]; then
    rm -r "$pending"
fi
reload
