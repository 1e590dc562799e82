"""Ask others of the site once a second, as AutoBot's programs do, and write down each answer.

    clients.py FILE TARGET...

A target is `redis:ADDRESS`, `postgresql:ADDRESS/DATABASE`, which reads,
`activity:ADDRESS/DATABASE`, which writes a row, or a method and a URL such as `GET:http://…`. FILE
gets a line for each question: when it was asked (seconds), the target, how long the answer took,
and `ok` or what went wrong. Redis and the web are asked over a new connection each time, and once.
PostgreSQL is asked over a connection that stays, like AutoBot's pool: where it is lost, or nobody
may write, a new one is tried for half a minute.

Other targets are people at a browser, whose password is in the environment, under their name:

- `page:https://NAME@ADDRESS/PATH`, `upload:…` which sends 2 MB, `stream:…` which reads an answer of
  a minute to its end. They log in, and once more where they are not known any more.
- `login:…` logs in every 20 seconds.
- `websocket:…` says a word each second over a connection that stays. A line `cut:…` tells of one
  that was lost; a new one is tried for half a minute.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import psycopg2
import websocket

PATIENCE = 30
REDIS_PORT = 6379
# A language model says nothing for a while.
STREAM_PATIENCE = 120
UPLOAD = b"x" * 2_000_000
PAUSES = {"login": 20}

Note = Callable[[str, float, str], None]


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


def web_opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), *handlers
    )


def web(method: str, url: str) -> Callable[[], None]:
    """Ask a web server; AutoBot's agents verify no certificate."""
    opener = web_opener()
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


class Person:
    """Somebody at a browser. `url` has their name."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self.name, self.host = parts.username or "", parts.hostname or ""
        place = self.host if parts.port is None else f"{self.host}:{parts.port}"
        self.url = urllib.parse.urlunsplit(parts._replace(scheme="https", netloc=place))
        self.cookies = CookieJar()
        self.opener = web_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        self.token = ""

    def log_in(self) -> None:
        given = {"username": self.name, "password": os.environ[self.name]}
        url = urllib.parse.urljoin(self.url, "/api/auth/login")
        with self.send(url, json.dumps(given).encode()) as answer:
            said = json.load(answer)
        self.token = said.get("access_token") or said["token"]

    def send(self, url: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        return self.opener.open(request, timeout=STREAM_PATIENCE)

    def ask(self, body: bytes | None = None) -> bytes:
        """The answer, after a login where one is needed."""
        try:
            return self.read(body)
        except urllib.error.HTTPError as error:
            if error.code != http.client.UNAUTHORIZED:
                raise
        self.token = ""
        self.log_in()
        return self.read(body)

    def read(self, body: bytes | None) -> bytes:
        with self.send(self.url, body) as answer:
            content: bytes = answer.read()
        return content

    def page(self) -> None:
        self.ask()

    def upload(self) -> None:
        size = json.loads(self.ask(UPLOAD))["size"]
        if size != len(UPLOAD):
            raise ValueError(size)

    def stream(self) -> None:
        pieces = self.ask().split()
        if pieces[-1] != b"59":
            raise ValueError(pieces[-1])

    def new_websocket(self) -> websocket.WebSocket:
        """A new one, after a login where one is needed."""
        try:
            return self.connect()
        except websocket.WebSocketBadStatusException as error:
            if error.status_code != http.client.UNAUTHORIZED:
                raise
        self.log_in()
        return self.connect()

    def connect(self) -> websocket.WebSocket:
        request = urllib.request.Request(self.url)  # noqa: S310
        self.cookies.add_cookie_header(request)
        return websocket.create_connection(
            self.url.replace("https:", "wss:"),
            timeout=PATIENCE,
            cookie=request.get_header("Cookie"),
            sslopt={"cert_reqs": ssl.CERT_NONE, "check_hostname": False},
        )


def talk(person: Person, cut: Callable[[str], None]) -> Callable[[], None]:
    """Say a word over a WebSocket that stays, and hear it."""
    connection: websocket.WebSocket | None = None

    def ask() -> None:
        nonlocal connection
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if connection is None:
                    connection = person.new_websocket()
                connection.send("word")
                if connection.recv() != "word":
                    raise ValueError
                return
            except (OSError, websocket.WebSocketException, urllib.error.URLError) as error:
                if connection is not None:
                    cut(repr(error))
                connection = None
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    return ask


def question(target: str, note: Note) -> Callable[[], None]:
    kind, _, place = target.partition(":")
    if kind == "redis":
        return redis(place)
    if kind in ("postgresql", "activity"):
        return postgresql(READ if kind == "postgresql" else WRITE, *place.split("/"))
    if kind in ("GET", "POST"):
        return web(kind, place)
    person = Person(place)
    if kind == "websocket":
        return talk(person, lambda why: note(f"cut:{place}", time.time(), why))
    asks = {
        "page": person.page,
        "upload": person.upload,
        "stream": person.stream,
        "login": person.log_in,
    }
    return asks[kind]


def ask_forever(target: str, note: Note) -> None:
    ask = question(target, note)
    while True:
        now = time.time()
        try:
            ask()
            said = "ok"
        # Whatever it is, it is what somebody was answered.
        except Exception as error:
            said = repr(error)
        note(target, now, said)
        time.sleep(PAUSES.get(target.partition(":")[0], 1))


def main() -> None:
    path, *targets = sys.argv[1:]
    with Path(path).open("a", buffering=1) as file:

        def note(target: str, asked: float, said: str) -> None:
            took = time.time() - asked
            file.write(f"{asked:.1f} {target} {took:.2f} {' '.join(said.split())}\n")

        threads = [threading.Thread(target=ask_forever, args=(target, note)) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
