# shellcheck shell=sh
# Starts a throwaway server of the installed version with one file of its configuration, and shows
# what the server says when it does not start.
# $1: directory of the programs; $2: settings (conf.d) or access (pg_hba); $3: the file;
# $4 and $5: certificate and key of the server
set -eu
scratch=$(mktemp --directory)
trap 'rm --recursive --force "$scratch"' EXIT
cp "$3" "$scratch/$2"
chown --recursive postgres: "$scratch"
cd "$scratch"
as_postgres="runuser -u postgres --"
$as_postgres "$1/initdb" --pgdata=data --no-sync --auth=peer --locale=C.UTF-8 >/dev/null
{
    echo "ssl = on"
    echo "ssl_cert_file = '$4'"
    echo "ssl_key_file = '$5'"
    case $2 in
        settings) echo "include '$scratch/settings'" ;;
        access) echo "hba_file = '$scratch/access'" ;;
    esac
} >>data/postgresql.conf
# It must not meet the real server: no address, a socket of its own, no archive.
options="-c listen_addresses= -c unix_socket_directories=$scratch"
# Its memory is asked for and not used. Where asking counts, the real server may have it all.
[ "$(cat /proc/sys/vm/overcommit_memory)" != 2 ] || options="$options -c shared_buffers=16MB"
grep --quiet "HugePages_Total: *0$" /proc/meminfo || options="$options -c huge_pages=off"
if ! $as_postgres "$1/pg_ctl" start --pgdata=data --wait --silent --log=log \
    --options="$options -c archive_command=/bin/true"
then
    cat log >&2
    exit 1
fi
$as_postgres "$1/pg_ctl" stop --pgdata=data --wait --silent --mode=immediate
