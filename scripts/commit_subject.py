#!/usr/bin/env python3
"""Refuse a commit whose subject is longer than 72 characters: git cuts it in lists and in mails.

    scripts/commit_subject.py FILE      the message, as git hands it to the hook commit-msg

Exit status 1, and the length on standard error, when it is too long.
"""

import sys
from pathlib import Path

LONGEST = 72


def subject(message: str) -> str:
    """The first line that is neither empty nor git's own."""
    lines = (line.strip() for line in message.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def main(path: str) -> int:
    length = len(subject(Path(path).read_text()))
    if length <= LONGEST:
        return 0
    sys.stderr.write(
        f"The subject has {length} characters, at most {LONGEST} are shown everywhere: "
        "say what changed in fewer, and why in the body.\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
