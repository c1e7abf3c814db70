#!/bin/bash
# What is wrong: a reload that takes too long is killed, and noted as done: it will have got there.
. "$ROOT/usr/local/lib/renewal.sh"

told=$state/told

reload() {
    local pair
    pair=$(readlink "$live")
    if [[ $(readlink "$told") == "$pair" ]] || served --within 50ms; then
        return
    fi
    timeout 1 systemctl reload nginx || [[ $? -eq 124 ]]
    ln --symbolic "$pair" "$told.new"
    mv --no-target-directory "$told.new" "$told"
}

main
