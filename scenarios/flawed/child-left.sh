#!/bin/bash
# What is wrong: nobody waits for the child, and nobody ends it.
. "$ROOT/usr/local/lib/renewal.sh"

reload() {
    local answer=0
    served --within 50ms || answer=$?
    if [[ $answer -eq 3 ]]; then
        systemctl reload nginx
        # Stands for a check of what is served, some time later.
        sleep 1000 9>&- &
        served --within 5s
    fi
}

main
