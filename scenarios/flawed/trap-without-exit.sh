#!/bin/bash
# What is wrong: a trap that does not exit returns to where the script was.
. "$ROOT/usr/local/lib/renewal.sh"

trap 'exec 9>&-' TERM

main
