#!/bin/bash
# What is wrong: there is no lock at all.
. "$ROOT/usr/local/lib/renewal.sh"

enter() {
    :
}

main
