"""What a command of this package fails with."""


class BackupError(Exception):
    """What went wrong, where, and what to do, in one or two sentences."""
