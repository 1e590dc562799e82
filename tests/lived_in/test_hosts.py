"""The hosts are like VMs on which AutoBot runs, and so they start from their images."""

from __future__ import annotations

import json

import pytest

from tests.lab.site import HOSTS, inside, must, on, superuser
from tests.lived_in.living import addresses, ask, open_ports

pytestmark = pytest.mark.usefixtures("lived_in")

# What a WebSocket answers to a word. argv: address, port, path, word.
SAY = """
import os, socket, ssl, sys
address, port, path, word = sys.argv[1:]
connection = ssl._create_unverified_context().wrap_socket(
    socket.create_connection((address, int(port)), 30)
)
head = (
    f"GET {path} HTTP/1.1",
    f"Host: {address}",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)
connection.sendall("".join(f"{line}\\r\\n" for line in (*head, "")).encode())
answers = connection.makefile("rb")
print(answers.readline().split()[1].decode())
while answers.readline().strip():
    pass
# Masked with zeros: the word stays as it is.
connection.sendall(bytes([0x81, 0x80 | len(word)]) + bytes(4) + word.encode())
print(answers.read(2 + len(word))[2:].decode())
"""
PEOPLE = ("ada", "ben", "cleo", "dario", "emil", "fay", "gus", "hana", "kira")
STORED = "SELECT username, left(password_hash, 7), length(password_hash) FROM users"


def test_everything_has_started_and_is_autobots() -> None:
    for name in HOSTS:
        assert on(name, "systemctl", "is-system-running").stdout.strip() == "running"
        stated = must(name, "stat", "--format", "%U %G %a", "/etc/autobot", "/opt/autobot")
        assert stated.splitlines() == ["autobot autobot 750", "autobot autobot 755"]
    for name in ("slm", "redis"):
        assert must(name, "ufw", "status").startswith("Status: active")
    assert {("slm", port) for port in (80, 443, 3000, 5432, 9090)} | {
        ("backend", port) for port in (6080, 8443, 11434)
    } == open_ports({80, 443, 3000, 5432, 6080, 6379, 8000, 8443, 9090, 9121, 11434}, addresses())


def test_the_fleet_manager_answers_who_has_its_token() -> None:
    slm = f"https://{addresses()['slm']}"
    given = json.dumps({"username": "kira", "password": "Fleet-keeper-1"})
    status, text = ask("POST", f"{slm}/api/auth/login", given)
    assert status == 200, text
    token = json.loads(text)["access_token"]
    assert ask("GET", f"{slm}/api/nodes", token=token)[0] == 200
    assert ask("GET", f"{slm}/api/nodes", token=f"{token}x")[0] == 401
    assert ask("GET", f"{slm}/api/nodes")[0] == 401
    assert ask("POST", f"{slm}/api/nodes/redis/heartbeat", "{}")[0] == 200
    # A page of the frontend, whatever its path.
    assert ask("GET", f"{slm}/fleet") == (200, "<!doctype html><title>AutoBot SLM</title>\n")


@pytest.mark.parametrize(
    ("name", "port", "path"), [("slm", 443, "/api/ws/events"), ("backend", 8443, "/api/ws")]
)
def test_websockets_pass_through_nginx(name: str, port: int, path: str) -> None:
    done = inside("outsider", "python3", "-c", SAY, addresses()[name], str(port), path, "hello")
    assert done.stdout.split() == ["101", "hello"], done.text


def test_the_databases_have_people() -> None:
    for database in ("slm_users", "autobot_users"):
        rows = superuser("slm", database, STORED)
        assert {row[0] for row in rows} == set(PEOPLE)
        assert {tuple(row[1:]) for row in rows} == {("$2b$12$", "60")}
    (shape,) = superuser(
        "slm",
        "postgres",
        "SELECT pg_get_userbyid(datdba), datcollate, current_setting('ssl'),"
        " current_setting('data_checksums') FROM pg_database WHERE datname = 'autobot_users'",
    )
    assert shape == ["slm_app", "en_US.UTF-8", "off", "off"]
