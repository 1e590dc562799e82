"""Ask others of the site once a second, as AutoBot's programs do, and write down each answer.

    clients.py FILE TARGET...

A target is `redis:ADDRESS`, `postgresql:ADDRESS/DATABASE`, which reads,
`activity:ADDRESS/DATABASE`, which writes a row, or a method and a URL such as `GET:http://…`. FILE
gets a line for each question: when it was asked (seconds), the target, how long the answer took,
and `ok` or what went wrong. Redis and the web are asked over a new connection each time, and once.
PostgreSQL is asked over a connection that stays, like AutoBot's pool: where it is lost, or nobody
may write, a new one is tried for half a minute.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2

PATIENCE = 30
REDIS_PORT = 6379


def redis(address: str) -> Callable[[], None]:
    """Count in Redis, logged in."""
    commands = f"AUTH {os.environ['REDIS_PASSWORD']}\r\nINCR questions\r\nQUIT\r\n".encode()

    def ask() -> None:
        with socket.create_connection((address, REDIS_PORT), PATIENCE) as connection:
            connection.sendall(commands)
            with connection.makefile("rb") as answers:
                said = answers.read()
        if not said.startswith(b"+OK\r\n:"):
            raise ValueError(said)

    return ask


def web(method: str, url: str) -> Callable[[], None]:
    """Ask a web server; AutoBot's agents verify no certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    body = b"{}" if method == "POST" else None
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - the unit's

    def ask() -> None:
        with opener.open(request, timeout=PATIENCE) as answer:
            answer.read()

    return ask


READ = "SELECT count(*) FROM users"
WRITE = """
INSERT INTO terminal_activities (id, user_id, command)
SELECT gen_random_uuid(), id, clock_timestamp()::text FROM users WHERE username = 'ada'
"""


def postgresql(statement: str, address: str, database: str) -> Callable[[], None]:
    """Read from a database, or write to it."""
    connection: Any = None

    def once() -> None:
        nonlocal connection
        if connection is None or connection.closed:
            connection = psycopg2.connect(
                host=address, dbname=database, user="slm_app", connect_timeout=5
            )
            connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)

    def ask() -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return once()
            except (psycopg2.OperationalError, psycopg2.errors.ReadOnlySqlTransaction):
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    return ask


def question(target: str) -> Callable[[], None]:
    kind, _, place = target.partition(":")
    if kind == "redis":
        return redis(place)
    if kind in ("postgresql", "activity"):
        return postgresql(READ if kind == "postgresql" else WRITE, *place.split("/"))
    return web(kind, place)


def ask_forever(target: str, note: Callable[[str], None]) -> None:
    ask = question(target)
    while True:
        now, start = time.time(), time.monotonic()
        try:
            ask()
            said = "ok"
        # Whatever it is, it is what somebody was answered.
        except Exception as error:
            said = " ".join(repr(error).split())
        note(f"{now:.1f} {target} {time.monotonic() - start:.2f} {said}\n")
        time.sleep(1)


def main() -> None:
    path, *targets = sys.argv[1:]
    with Path(path).open("a", buffering=1) as file:
        threads = [
            threading.Thread(target=ask_forever, args=(target, file.write)) for target in targets
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
