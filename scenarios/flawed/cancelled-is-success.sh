#!/bin/bash
# What is wrong: somebody who cancels the run is told that all is well, and so is whoever reads its status.
. "$ROOT/usr/local/lib/renewal.sh"

trap 'echo cancelled; exit 0' INT

main
