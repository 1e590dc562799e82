# Restarts PostgreSQL. When it does not start with a new configuration, the former one is put back, so
# that it serves now and after a reboot; what the server said then goes to standard error.
# $1: the unit; then pairs of a file of the configuration and its former self
set -eu
unit=$1
shift
begin=$(date +%s)
if systemctl restart "$unit"; then exit 0; fi
reason=$(journalctl --unit="$unit" --since="@$begin" --output=cat --no-pager | grep -F FATAL | tail -n 1)
while [ $# -gt 1 ]; do
  mv --no-target-directory "$2" "$1"
  shift 2
done
systemctl restart "$unit" && state="It runs with its former configuration again." ||
  state="It does not start with its former one either."
echo "${reason:-See: journalctl --unit $unit.}" >&2
echo "$state" >&2
exit 1
