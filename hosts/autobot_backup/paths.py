"""Where a host keeps the configuration, the records and the results of its backups."""

from pathlib import Path

CONFIGURATION = Path("/etc/autobot-users/backup/backup.json")
SSH_KEY = CONFIGURATION.with_name("id")
KNOWN_HOSTS = CONFIGURATION.with_name("known_hosts")
PGBACKREST_CONFIGURATION = Path("/etc/pgbackrest.conf")
SPOOL = Path("/var/spool/pgbackrest/archive")

STATE = Path("/var/lib/autobot-backup")
RECORDS = STATE / "records"
LOCK = STATE / "lock"
SCRATCH = STATE / "scratch"
SCRATCH_LOCK = STATE / "scratch.lock"
CHECK_RESULT = STATE / "check.json"
VERIFY_RESULT = STATE / "verify.json"
ACCEPTED_GAPS = STATE / "accepted-gaps.json"
DRILL_RESULT = STATE / "drill.json"
DUMP_RESULT = STATE / "dump.json"
