#!/bin/bash
# What is wrong: between rm and ln there is nothing where the server reads.
. "$ROOT/usr/local/lib/renewal.sh"

install() {
    rm --force "$live"
    ln --symbolic "${new##*/}" "$live"
}

main
