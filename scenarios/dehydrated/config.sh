HOOK=/etc/dehydrated/hook.sh
