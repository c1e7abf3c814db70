#!/bin/bash
. "$ROOT/usr/local/lib/renewal.sh"
main
