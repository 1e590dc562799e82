"""The gateway as it stands on a host: nginx by the role's template, the service behind it and the
relay, each of them real, and a stand-in for AutoBot, on ports of their own.
"""

import asyncio
import base64
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2
import uvicorn
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.applications import Door
from tests.support.role_files import ROOT, load_file, load_plugin, render
from user_management_web.protocol import ProxiedProtocol
from user_management_web.relay import Relay

SECRET = "an-old-secret-of-autobot"
MACHINE, STRANGER = "127.0.0.1", "127.0.0.2"
NOTHING: Mapping[str, str] = MappingProxyType({})
HEARTBEAT = "/api/nodes/n1/heartbeat"
_autobot: Any = load_file("molecule/lived_in/files/autobot.py")


class Autobot(_autobot.Handler):  # type: ignore[misc]
    """AutoBot's fleet manager, as the lived-in lab has it, which tells what it was asked."""

    service = _autobot.SERVICES["slm"]
    secret = SECRET.encode()

    def answer(
        self, status: int, content: dict[str, Any], more: Mapping[str, str] = NOTHING
    ) -> None:
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        self.more = more
        super().answer(status, content)

    def end_headers(self) -> None:
        for name, value in getattr(self, "more", NOTHING).items():
            self.send_header(name, value)
        super().end_headers()

    def echo(self) -> None:
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        super().echo()

    def frame(self) -> tuple[int, bytes] | None:
        """One that is deaf reads nothing."""
        if self.path == "/api/ws/deaf":
            self.server.ended.wait(60)
            return None
        found: tuple[int, bytes] | None = super().frame()
        return found

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_request(self) -> None:
        """Besides: a streamed answer, and what has come of an upload."""
        path = self.path.partition("?")[0]
        if path == "/api/stream":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for number in range(3):
                self.wfile.write(f"data: {number}\n\n".encode())
                self.server.told.wait(10)
                self.server.told.clear()
            self.close_connection = True
        elif path == "/api/elsewhere":
            self.answer(200, {"path": path}, {"X-Accel-Redirect": "/.gateway/caller"})
        elif path == "/api/slow":
            time.sleep(30)
        else:
            super().handle_request()


class Upstream(ThreadingHTTPServer):
    """AutoBot's service, and what it was asked: methods, paths and headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Autobot)
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.ended = threading.Event()
        # Set to let a streamed answer go on.
        self.told = threading.Event()

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port


@dataclass
class GatewaySite:
    """Where the gateway is, and what is behind it."""

    url: str
    certificate: Path
    upstream: Upstream
    log: Path
    relay: Relay
    # Of connections that tests have opened.
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def client(self, address: str = STRANGER) -> httpx2.AsyncClient:
        """A client at an address of this machine."""
        context = ssl.create_default_context(cafile=self.certificate)
        transport = httpx2.AsyncHTTPTransport(verify=context, local_address=address)
        return httpx2.AsyncClient(transport=transport, base_url=self.url)

    async def connect(self, address: str = STRANGER) -> tuple[Any, Any]:
        """A connection on which a test writes what no client would."""
        context = ssl.create_default_context(cafile=self.certificate)
        port = int(self.url.rpartition(":")[2])
        connected = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, local_addr=(address, 0)
        )
        self.writers.append(connected[1])
        return connected

    async def ask(self, text: str, address: str = STRANGER) -> str:
        """Write a request as it is; all that is answered until the connection ends."""
        reader, writer = await self.connect(address)
        writer.write(text.encode("latin-1"))
        answer = await reader.read()
        return str(answer.decode("latin-1"))

    async def websocket(
        self, path: str, headers: dict[str, str], address: str = STRANGER
    ) -> "WebSocket":
        """Begin a WebSocket; it has the status of the answer, 101 where it has begun."""
        reader, writer = await self.connect(address)
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {self.url.removeprefix('https://')}",
            *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        return WebSocket(int(head.split(" ")[1]), head, reader, writer)


@dataclass
class WebSocket:
    """A WebSocket of a client's."""

    status: int
    head: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, text: str) -> str:
        """Send a text; what comes back."""
        data, mask = text.encode(), os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.writer.write(b"\x81" + bytes([0x80 | len(data)]) + mask + masked)
        head = await self.reader.readexactly(2)
        return (await self.reader.readexactly(head[1])).decode()

    async def closed(self) -> None:
        """Wait until the other side has ended it."""
        assert await self.reader.read() == b""


def certificate_in(directory: Path) -> Path:
    """A certificate for this machine, where the configuration looks for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (directory / "https.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    certificate = directory / "https.crt"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    return certificate


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    return listener


def _taken_port() -> socket.socket:
    """A listening socket, which nginx takes over: nobody else gets its port in between."""
    listener = socket.socket()
    # All addresses, as the configuration says it: nginx compares.
    listener.bind(("", 0))
    listener.listen(512)
    return listener


def configuration(
    directory: Path,
    port: int,
    proxies: Iterable[str] = (),
    passed: int = 2048,
    **gateway: Any,
) -> str:
    """What nginx runs with: the role's template, with paths below a directory. `passed` are the
    requests that it passes on at once.
    """
    own = load_plugin("filter.gateway").own_locations((ROOT / "docs/openapi.json").read_text())
    variables = {
        **yaml.safe_load((ROOT / "roles/service/vars/main.yml").read_text()),
        "service_name": "slm",
        "service_title": "SLM server",
        "service_hosts": ["gateway.internal"],
        "service_port": port,
        "service_redirect_ports": [],
        "service_socket": str(directory / "slm.sock"),
        "service_relay_socket": str(directory / "relay.sock"),
        "service_root": str(directory),
        "service_ipv6": False,
        "service_proxies": list(proxies),
        "service_pages": "admin_ui",
        "service_page_paths": ["login"],
        "service_page_prefix": "/user-management",
        "service_upload_paths": [],
        "service_own_paths": own,
        "service_gateway": gateway,
        "service_passed_requests": passed,
    }
    site = render("service", "etc/nginx/conf.d/site.conf.j2", **variables)
    site = site.replace("/etc/autobot-users/tls/", f"{directory}/")
    site = site.replace("/var/log/nginx/access.log", str(directory / "access.log"))
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off;\npid {directory}/pid;\nerror_log {directory}/error.log;\n"
        + ("user root;\n" if os.geteuid() == 0 else "")
        + f"events {{ worker_connections 1024; }}\nhttp {{\n{temporary}{site}}}\n"
    )


@asynccontextmanager
async def gateway_site(
    door: Door, check: Any, directory: Path, **gateway: Any
) -> AsyncIterator[GatewaySite]:
    """Serve a started application behind the gateway; `gateway` are the web server's settings, in
    which `UPSTREAM` stands for where AutoBot is.
    """
    certificate, upstream, public = certificate_in(directory), Upstream(), _taken_port()
    port: int = public.getsockname()[1]
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    for route in gateway["routes"]:
        route["to"] = route["to"].replace("UPSTREAM", f"127.0.0.1:{upstream.port}")
    file = directory / "nginx.conf"
    file.write_text(configuration(directory, port, **gateway))
    config = uvicorn.Config(
        door.app,
        lifespan="off",
        http=ProxiedProtocol,
        log_config=None,
        access_log=False,
        proxy_headers=True,
        forwarded_allow_ips="*",
    )
    server = uvicorn.Server(config)
    with (
        _listening(directory / "slm.sock") as own,
        _listening(directory / "relay.sock") as listener,
    ):
        resources = door.resources
        relay = Relay(resources.databases[resources.callers], resources.policy, check)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve([own]))
            relaying = group.create_task(relay.serve(listener))
            nginx = await asyncio.create_subprocess_exec(
                *(ROOT / ".cache/nginx", "-p", directory, "-c", file),
                pass_fds=[public.fileno()],
                env=os.environ | {"NGINX": f"{public.fileno()};"},
            )
            public.close()
            try:
                site = GatewaySite(
                    f"https://127.0.0.1:{port}",
                    certificate,
                    upstream,
                    directory / "access.log",
                    relay,
                )
                yield site
                for writer in site.writers:
                    writer.close()
            finally:
                nginx.terminate()
                await nginx.wait()
                server.should_exit = True
                await serving
                relaying.cancel()
                upstream.ended.set()
                upstream.shutdown()
                upstream.server_close()
