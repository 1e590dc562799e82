"""What tests ask of the rows that a file of users was read as."""

from collections.abc import Iterable

from user_management.transfer.candidates import Candidate, Row


def taken(rows: Iterable[Row]) -> list[Candidate]:
    """The users to import, where the file has nothing else."""
    users = []
    for row in rows:
        assert isinstance(row, Candidate), row
        users.append(row)
    return users
