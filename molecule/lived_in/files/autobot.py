"""Stands in for AutoBot's services: what a client and a proxy in front of them see.

Below /api/ it answers whoever has a token (HS256, signed with the service's secret, with its
claims) with who that is; it asks nobody who a user is today. Some paths and all WebSockets ask for
no token. A WebSocket says what it hears. What ends in /stream is answered piece by piece for a
minute, like the answer of a language model.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar, NamedTuple

import bcrypt

ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
TOKEN_SECONDS = 24 * 3600
STREAM_SECONDS = 60


class Service(NamedTuple):
    """How one of AutoBot's services differs from the other."""

    port: int
    secret: str
    claims: frozenset[str]
    open_paths: re.Pattern[str]
    websockets: re.Pattern[str]


SERVICES = {
    "slm": Service(
        8000,
        "SLM_SECRET_KEY",
        frozenset({"sub", "admin", "exp"}),
        re.compile(
            r"/api/health(/.*)?|/api/nodes/[^/]+/heartbeat|/api/roles/definitions"
            r"|/api/v1/slm/events/sync|/api/code-(sync|source)/notify"
            r"|/api/performance/metrics/prometheus"
        ),
        re.compile(r"/api/ws/.+"),
    ),
    "backend": Service(
        8001,
        "AUTOBOT_JWT_SECRET",
        frozenset({"username", "role", "exp"}),
        re.compile(r"/api/health(/.*)?"),
        re.compile(r"/ws|/api/ws(/.*)?|/api/terminal/ws(/.*)?|/api/voice/stream"),
    ),
}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def signature(signed: str, secret: bytes) -> bytes:
    return hmac.digest(secret, signed.encode(), "sha256")


def token(claims: dict[str, Any], secret: bytes) -> str:
    """A token of AutoBot's form."""
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{encoded(signature(signed, secret))}"


def claims_of(text: str, secret: bytes, wanted: frozenset[str]) -> dict[str, Any] | None:
    """The claims of a token that holds; None if it is forged, expired, or lacks a claim."""
    signed, _, given = text.rpartition(".")
    try:
        if not hmac.compare_digest(decoded(given), signature(signed, secret)):
            return None
        header, claims = (json.loads(decoded(part)) for part in signed.split("."))
        holds = header["alg"] == "HS256" and wanted <= set(claims) and claims["exp"] > time.time()
    except (ValueError, KeyError, TypeError):
        return None
    return claims if holds else None


class Handler(BaseHTTPRequestHandler):
    """Answers one client of the service."""

    protocol_version = "HTTP/1.1"
    service: ClassVar[Service]
    secret: ClassVar[bytes]

    def do_GET(self) -> None:
        self.handle_request()

    def do_POST(self) -> None:
        self.handle_request()

    def do_PUT(self) -> None:
        self.handle_request()

    def do_PATCH(self) -> None:
        self.handle_request()

    def do_DELETE(self) -> None:
        self.handle_request()

    def do_OPTIONS(self) -> None:
        self.handle_request()

    def handle_request(self) -> None:
        """Answer by path and token, whatever the method."""
        path = self.path.partition("?")[0]
        if self.headers.get("Upgrade", "").lower() == "websocket":
            if self.service.websockets.fullmatch(path):
                self.echo()
            else:
                self.answer(404, {"detail": "Not Found"})
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        # A browser asks so whether another origin's page may send a request.
        if self.command == "OPTIONS" or self.service.open_paths.fullmatch(path):
            self.answer(200, {"status": "ok", "path": path})
        elif (self.command, path) == ("POST", "/api/auth/login"):
            self.login(body)
        elif not path.startswith("/api/"):
            self.answer(404, {"detail": "Not Found"})
        elif not (claims := self.claims()):
            self.answer(401, {"detail": "Invalid or expired token"})
        elif path.endswith("/stream"):
            self.stream()
        else:
            self.answer(200, {"path": path, "claims": claims, "size": len(body)})

    def claims(self) -> dict[str, Any] | None:
        """Who asks."""
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        return claims_of(given, self.secret, self.service.claims)

    def login(self, body: bytes) -> None:
        """Let in who is in the database with this password."""
        try:
            given = json.loads(body)
            name, password = str(given["username"]), str(given["password"])
        except (ValueError, KeyError, TypeError):
            self.answer(422, {"detail": "username and password are needed"})
            return
        found = self.user(name)
        if found is None or not bcrypt.checkpw(password.encode(), found[0].encode()):
            self.answer(401, {"detail": "Invalid username or password"})
            return
        role = "admin" if found[1] else "user"
        claims = {"sub": name, "admin": found[1], "username": name, "role": role}
        issued = token({**claims, "exp": int(time.time()) + TOKEN_SECONDS}, self.secret)
        self.answer(200, {"access_token": issued, "token": issued, "token_type": "bearer"})

    def user(self, name: str) -> tuple[str, bool] | None:
        """Somebody's hash, and whether they are an administrator. None who is not known."""
        raise NotImplementedError

    def stream(self) -> None:
        """A piece each second."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(STREAM_SECONDS):
            piece = f"data: {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            time.sleep(1)
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def echo(self) -> None:
        """Say what is heard, until the other side closes."""
        self.close_connection = True
        key = self.headers.get("Sec-WebSocket-Key", "").encode()
        accept = hashlib.sha1(key + ACCEPT_SUFFIX, usedforsecurity=False).digest()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
        self.end_headers()
        while frame := self.frame():
            kind, content = frame
            self.send_frame(PONG if kind == PING else kind, content)
            if kind == CLOSE:
                return

    def frame(self) -> tuple[int, bytes] | None:
        """A whole frame of the client's, which is always masked; None at its end."""
        head = self.rfile.read(2)
        if len(head) < 2:
            return None
        length = head[1] & 0x7F
        if length > 125:
            length = int.from_bytes(self.rfile.read(2 if length == 126 else 8))
        mask = self.rfile.read(4)
        content = self.rfile.read(length)
        return head[0] & 0x0F, bytes(it ^ mask[at % 4] for at, it in enumerate(content))

    def send_frame(self, kind: int, content: bytes) -> None:
        size = len(content)
        if size < 126:
            length = bytes([size])
        elif size < 2**16:
            length = b"\x7e" + size.to_bytes(2)
        else:
            length = b"\x7f" + size.to_bytes(8)
        self.wfile.write(bytes([0x80 | kind]) + length + content)
