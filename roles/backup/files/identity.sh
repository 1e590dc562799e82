# shellcheck shell=sh
# Prints the public key with which this host reaches its repository; makes the key when there is none.
# $1: true to make nothing (check mode)
set -eu
directory=/etc/autobot-users/backup
if [ "$1" = false ]; then
    # What is in it configures what root runs, so postgres reads it and changes nothing. Once it is
    # root's, nobody else can put a link where root is about to write.
    if [ "$(stat --format='%U:%G %a %F' "$directory" 2>/dev/null)" != 'root:postgres 750 directory' ]; then
        install --directory --owner=root --group=postgres --mode=0750 "$directory"
        echo made >&2
    fi
    find "$directory" -mindepth 1 -maxdepth 1 ! -type f -exec rm -r {} +
    if [ ! -s "$directory/id" ] || [ ! -s "$directory/id.pub" ]; then
        rm -f "$directory/id" "$directory/id.pub"
        ssh-keygen -q -t ed25519 -N '' -C autobot-backup -f "$directory/id"
        echo made >&2
    fi
    # pgBackRest opens it as postgres.
    chown postgres:postgres "$directory/id"
    chown root:root "$directory/id.pub"
    chmod 0600 "$directory/id"
    chmod 0644 "$directory/id.pub"
fi
# Read as postgres: as long as the directory is not root's, the file may be a link to anything.
[ ! -s "$directory/id" ] || runuser -u postgres -- \
    grep -m 1 -xE 'ssh-ed25519 [A-Za-z0-9+/=]+( .*)?' "$directory/id.pub"
