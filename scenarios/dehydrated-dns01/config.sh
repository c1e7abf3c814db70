CHALLENGETYPE=dns-01
HOOK=/etc/dehydrated/hook.sh
