"""Programs that use up what a host has, for as long as their input is open."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.site import HOSTS, MULTIPLEX, SSH_CONFIG, wait_until

# Both open their connections at once and each anew when it ends. They print how many they hold.
HOLD = """
import asyncio, ssl, struct, sys

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
held = 0

async def hold(number, attack):
    global held
    while True:
        writer = None
        counted = False
        try:
            async with asyncio.timeout(20):
                reader, writer = await asyncio.open_connection(ADDRESS, attack.port)
                await attack.begin(reader, writer)
            counted = True
            held += 1
            await attack.linger(reader, writer)
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            held -= counted
            if writer is not None:
                writer.transport.abort()
        await asyncio.sleep(0.2)

async def main(attacks):
    tasks = [asyncio.create_task(hold(number, attack)) for number, attack in enumerate(attacks)]
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not ended.done():
        print(held, flush=True)
        await asyncio.sleep(0.5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
"""

# argv: address, role, database, how many. The password is never sent.
STARTUPS = (
    "import sys; ADDRESS = sys.argv[1]\n"
    + HOLD
    + """
class HalfOpen:
    port = 5432

    @staticmethod
    async def begin(reader, writer):
        writer.write(struct.pack("!ii", 8, 80877103))
        await reader.readexactly(1)
        await writer.start_tls(context)
        names = b"\\0".join([b"user", sys.argv[2].encode(), b"database", sys.argv[3].encode()])
        writer.write(struct.pack("!ii", len(names) + 10, 196608) + names + b"\\0\\0")
        kind, _, request = struct.unpack("!cii", await reader.readexactly(9))
        if (kind, request) != (b"R", 10):
            raise EOFError

    @staticmethod
    async def linger(reader, writer):
        while await reader.read(65536):
            pass

asyncio.run(main([HalfOpen] * int(sys.argv[4])))
"""
)

# argv: address, port of TLS, port of plain HTTP, how many of each kind.
SLOW_CLIENTS = (
    "import sys; ADDRESS = sys.argv[1]\n"
    + HOLD
    + """
class Slow:
    def __init__(self, port, tls, beginning):
        self.port, self.tls, self.beginning = port, tls, beginning

    async def begin(self, reader, writer):
        if self.tls:
            await writer.start_tls(context)
        writer.write(self.beginning)
        await writer.drain()

    async def linger(self, reader, writer):
        end = asyncio.create_task(reader.read())
        while not end.done():
            await asyncio.wait([end], timeout=4)
            if self.beginning and not end.done():
                writer.write(b"x")

tls, plain, number = map(int, sys.argv[2:])
KINDS = [
    # Nothing at all; a TLS greeting that never ends; a header; a body; a header of plain HTTP.
    Slow(tls, False, b""),
    Slow(tls, False, b"\\x16\\x03\\x01\\x02\\x00"),
    Slow(tls, True, b"GET / HTTP/1.1\\r\\nHost: x\\r\\nX-Slow: "),
    Slow(tls, True, b"POST /api/slm-auth/login HTTP/1.1\\r\\nHost: x\\r\\n"
        b"Content-Type: application/json\\r\\nContent-Length: 60000\\r\\n\\r\\n{"),
    Slow(plain, False, b"GET / HTTP/1.1\\r\\nHost: x\\r\\nX-Slow: "),
]
asyncio.run(main(KINDS * number))
"""
)


class Attack:
    """An attacker at work."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def held(self) -> int:
        """How many connections it holds now."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def wait_for(self, number: int) -> None:
        """Wait until it holds so many."""
        wait_until(lambda: self.held() >= number, f"{number} connections are held")


@contextmanager
def attacker(name: str, program: str, *arguments: str, user: int = 0) -> Iterator[Attack]:
    """A program of these on a host of the site, or in the outsider, meanwhile."""
    become = ["setpriv", f"--reuid={user}", "--clear-groups"]
    command = ["python3", "-c", program, *arguments]
    remote = [
        "ssh",
        "-F",
        str(SSH_CONFIG),
        *MULTIPLEX,
        name,
        shlex.join(["sudo", "-n", *become, *command]),
    ]
    process = subprocess.Popen(
        remote if name in HOSTS else ["podman", "exec", "--interactive", name, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Attack(process)
    finally:
        # The rest of what it prints is read, so that it can end.
        process.communicate(timeout=60)
