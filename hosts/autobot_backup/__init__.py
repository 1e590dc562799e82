"""Backups of a host's PostgreSQL with pgBackRest, and what is restored from them."""
