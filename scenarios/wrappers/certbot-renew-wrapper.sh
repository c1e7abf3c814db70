#!/bin/bash
# Renews what is due. A systemd timer and a cron job both start this: whoever comes second leaves.
set -euo pipefail

exec 9>/run/certbot-renew.lock
if ! flock -n 9; then
    echo "a renewal is under way already"
    exit 0
fi

certbot renew -q --no-random-sleep-on-renew
