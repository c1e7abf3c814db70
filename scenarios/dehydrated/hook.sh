#!/bin/bash
# dehydrated's hook: nginx reads dehydrated's own folder, so all that is left is to reload it.
set -euo pipefail
case "$1" in
deploy_cert) systemctl reload nginx ;;
esac
