"""Serves the stand-in for one of AutoBot's services, on the loopback, like AutoBot's.

    main.py slm | backend

Whoever logs in is looked up in its own users: those of the fleet manager are in its own database.
"""

from __future__ import annotations

import contextlib
import os
import sys
from http.server import ThreadingHTTPServer

import autobot
import psycopg2

USER = "SELECT password_hash, {admin} FROM users WHERE username = %s AND is_active"
ADMIN = {"slm": "is_admin", "backend": "is_platform_admin"}
# Where users are; what is in braces is of the service's environment.
DATABASES = {
    "slm": {
        "host": "127.0.0.1",
        "user": "{SLM_DB_USER}",
        "password": "{SLM_DB_PASSWORD}",
        "dbname": "slm",
    },
    "backend": {
        "host": "{AUTOBOT_POSTGRES_HOST}",
        "user": "{AUTOBOT_POSTGRES_USER}",
        "password": "{AUTOBOT_POSTGRES_PASSWORD}",
        "dbname": "{AUTOBOT_POSTGRES_DB}",
    },
}


def main() -> None:
    name = sys.argv[1]
    query = USER.format(admin=ADMIN[name])
    where = {key: text.format_map(os.environ) for key, text in DATABASES[name].items()}

    class Handler(autobot.Handler):
        service = autobot.SERVICES[name]
        secret = os.environ[service.secret].encode()

        def user(self, name: str) -> tuple[str, bool] | None:
            connection = psycopg2.connect(**where)
            with contextlib.closing(connection), connection.cursor() as cursor:
                cursor.execute(query, [name])
                found: tuple[str, bool] | None = cursor.fetchone()
            return found

    ThreadingHTTPServer(("127.0.0.1", Handler.service.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
