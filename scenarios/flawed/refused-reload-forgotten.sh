#!/bin/bash
# What is wrong: who has broken the server's configuration is to reload it, when it is mended; and so
# a reload that was refused is noted as if it had been done.
. "$ROOT/usr/local/lib/renewal.sh"

told=$state/told

reload() {
    local pair
    pair=$(readlink "$live")
    if [[ $(readlink "$told") == "$pair" ]] || served --within 50ms; then
        return
    fi
    systemctl reload nginx || [[ $? -eq 1 ]]
    ln --symbolic "$pair" "$told.new"
    mv --no-target-directory "$told.new" "$told"
}

main
