#!/bin/bash
# What is wrong: write(2) may write less than it is given, and says so (os.write does, too).
. "$ROOT/usr/local/lib/renewal.sh"

certificate=$state/combined.pem
key=$state/combined.pem

install() {
    python3 -c '
import os, sys
*parts, whole = sys.argv[1:]
file = os.open(whole + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
os.write(file, b"".join(open(part, "rb").read() for part in parts))
os.close(file)
os.rename(whole + ".new", whole)
' "$new/privkey.pem" "$new/fullchain.pem" "$certificate"
}

main
