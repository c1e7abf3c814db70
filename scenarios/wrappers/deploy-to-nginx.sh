#!/bin/bash
# certbot's deploy hook: puts a renewed pair where nginx reads it, and reloads nginx.
set -euo pipefail
umask 077

lineage=${RENEWED_LINEAGE:?certbot sets it}
name=${lineage##*/}
target=/etc/nginx/tls/$name
record=/var/lib/deploy/$name.fingerprint

# By hand and by certbot at the same time: one after the other.
exec 8>"/run/deploy-$name.lock"
flock -w 30 8

new=$(openssl x509 -in "$lineage/fullchain.pem" -noout -fingerprint -sha256)
old=$(cat "$record" 2>/dev/null || true)
if [ "$new" = "$old" ]; then
    exit 0
fi

# Written beside its place and renamed into it: no reader sees half a file.
install_file() {
    local temporary
    temporary=$(mktemp "$target/.$1.XXXXXX")
    cp "$lineage/$1" "$temporary"
    mv "$temporary" "$target/$1"
}

mkdir -p "$target" "${record%/*}"
install_file privkey.pem
install_file fullchain.pem
systemctl reload nginx

temporary=$(mktemp "$record.XXXXXX")
echo "$new" >"$temporary"
mv "$temporary" "$record"
