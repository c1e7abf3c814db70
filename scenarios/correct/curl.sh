#!/bin/bash
. "$ROOT/usr/local/lib/renewal.sh"
. "$ROOT/usr/local/lib/acme.sh"
main
