# keeper.sh BIN DIR: see server.go.
bin=$1 dir=$2 log=$2/log
# Sorted as people sort, where the version can: what must be bytewise must say so.
collation=--locale=C
"$bin/initdb" --help | grep -q icu-locale && collation='--locale-provider=icu --icu-locale=en --locale=C'
[ -d "$dir/data" ] ||
	"$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 $collation --no-sync >>"$log" 2>&1 ||
	exit 1
# Nothing of it must survive the loss of power.
"$bin/pg_ctl" -D "$dir/data" -l "$log" -w -o "-k '$dir' -c listen_addresses= -c unix_socket_permissions=0777 \
	-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c autovacuum=off \
	-c max_connections=300 -c shared_buffers=32MB" start >/dev/null 2>&1 || exit 1
echo ready
read -r word
"$bin/pg_ctl" -D "$dir/data" -m fast -w stop >/dev/null 2>&1
[ "$word" = keep ] || rm -rf "$dir"
