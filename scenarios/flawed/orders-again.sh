#!/bin/bash
# What is wrong: an order that is not done soon is given up for a new one, again and again.
. "$ROOT/usr/local/lib/renewal.sh"
. "$ROOT/usr/local/lib/acme.sh"

orders=1

await() {
    local tries
    for tries in 1 2 3; do
        ask "$1" ''
        [[ $(field status) != "$2" ]] || return 0
        sleep 0.2
    done
    unsuccessful "$@"
}

unsuccessful() {
    [[ $orders -lt 10 ]] || fail "$@"
    orders=$((orders + 1))
    place_order
    install
    reload
    exit 0
}

main
