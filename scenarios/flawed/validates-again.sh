#!/bin/bash
# What is wrong: an order whose validation failed is replaced by a new one, again and again, although
# nothing has changed meanwhile.
. "$ROOT/usr/local/lib/renewal.sh"
. "$ROOT/usr/local/lib/acme.sh"

orders=1

unsuccessful() {
    [[ $2 == ready && $orders -lt 10 ]] || fail "$@"
    orders=$((orders + 1))
    place_order
    install
    reload
    exit 0
}

main
