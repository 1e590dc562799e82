#!/bin/sh
# Backups of this host's PostgreSQL: hosts/autobot_backup of the deployment's checkout.
exec /usr/local/lib/autobot-backup/autobot-backup.pyz "$@"
