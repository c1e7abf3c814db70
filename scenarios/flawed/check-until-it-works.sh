#!/bin/bash
# What is wrong: the last check is tried again until it works, as in until-it-works. Here something that needs more is
# done first, so that a limit that is there from the start ends the run before: it shows only if memory gets short later.
. "$ROOT/usr/local/lib/renewal.sh"

enter() {
    exec 9>"$lock"
    flock --nonblock 9 || exit 75
    in_memory 67108864
}

reload() {
    local answer=0
    served --within 50ms || answer=$?
    case $answer in
    0) return ;;
    3) ;;
    *) exit "$answer" ;;
    esac
    signal_the_server
    served --within 5s
    until in_memory 33554432; do sleep 0.1; done
}

# With the list of what it serves in memory: 16 MiB.
signal_the_server() {
    python3 -c '
import os, signal
server = int(open(os.environ["ROOT"] + "/run/nginx.pid").read())
served = b"example.com\n" * 1400000
os.kill(server, signal.SIGHUP)
os._exit(0)
'
}

# A list of this many bytes.
in_memory() {
    awk -v size="$1" 'BEGIN { list = "revoked\n"; while (length(list) < size) list = list list }'
}

main
