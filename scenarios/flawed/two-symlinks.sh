#!/bin/bash
# What is wrong: each swap is atomic, the two together are not.
. "$ROOT/usr/local/lib/renewal.sh"

certificate=$state/fullchain.pem
key=$state/privkey.pem

install() {
    local file
    for file in privkey.pem fullchain.pem; do
        ln --symbolic "${new##*/}/$file" "$state/$file.new"
        mv --no-target-directory "$state/$file.new" "$state/$file"
    done
}

main
