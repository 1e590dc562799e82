# Prints the public key with which this host reaches its repository; makes the key when there is none.
# $1: true to make nothing (check mode)
set -eu
directory=/etc/autobot/backup
if [ ! -s "$directory/id" ] && [ "$1" = false ]; then
  install --directory --owner=postgres --group=postgres --mode=0700 "$directory"
  runuser -u postgres -- ssh-keygen -q -t ed25519 -N '' -C autobot-backup -f "$directory/id"
  echo made >&2
fi
[ ! -s "$directory/id" ] || cat "$directory/id.pub"
