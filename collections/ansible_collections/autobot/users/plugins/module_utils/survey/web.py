"""What nginx serves, and what it passes on to whom."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from .reading import SYSTEM_PATH, UnreadableError, guarded, is_active, output

HEADING = re.compile(r"^# configuration file (/.+):$\n", re.MULTILINE)
ESCAPES = {"t": "\t", "r": "\r", "n": "\n", '"': '"', "'": "'", "\\": "\\"}
# A word: in quotes, or until space, semicolon or brace; ${name} is part of it.
TOKEN = re.compile(
    r"""\s+ | \#[^\n]*
    | (?P<mark>[;{}])
    | "(?P<double>(?:\\.|[^"\\])*)" | '(?P<single>(?:\\.|[^'\\])*)'
    | (?P<plain>(?:\\.|\$\{|[^\s;{\\])+)""",
    re.VERBOSE | re.DOTALL,
)


class Directive(NamedTuple):
    """A directive, the words behind its name, and what is in its block."""

    name: str
    words: list[str]
    block: list[Directive]
    file: str


def tokens(text: str) -> Iterator[tuple[str, bool]]:
    """The words of a configuration, and its `;`, `{` and `}`, marked as such.

    Raises UnreadableError at a quote that does not end.
    """
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None or (found["plain"] or "x")[0] in "\"'":
            line = text.count("\n", 0, at) + 1
            raise UnreadableError(f"line {line} is not understood")
        at = found.end()
        if found["mark"]:
            yield found["mark"], True
        elif found.lastgroup:
            word = found[found.lastgroup]
            yield re.sub(r"\\([\"'\\trn])", lambda escape: ESCAPES[escape[1]], word), False


class Parser:
    """Puts a configuration together; `files` are the texts of its files, the main one first."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files
        self._main = next(iter(files))

    def parsed(self) -> list[Directive]:
        """The directives of the main file, with those of what it includes in their places.

        Raises UnreadableError where a file is no configuration of nginx.
        """
        return self._file((self._main,))

    def _file(self, within: tuple[str, ...]) -> list[Directive]:
        """The directives of the last of these files, which the others include."""
        path = within[-1]
        try:
            found, closed = self._block(tokens(self._files[path]), within)
        except UnreadableError as error:
            raise UnreadableError(f"{path}: {error}") from error
        if closed:
            raise UnreadableError(f"{path}: it closes a block that it does not open")
        return found

    def _block(
        self, words: Iterator[tuple[str, bool]], within: tuple[str, ...]
    ) -> tuple[list[Directive], bool]:
        """The directives until a block closes, or the file ends; and whether it was the former."""
        found: list[Directive] = []
        statement: list[str] = []
        for word, is_mark in words:
            if not is_mark:
                statement.append(word)
            elif word == "}" and not statement:
                return found, True
            elif word == "}" or not statement:
                raise UnreadableError(f"a {word} is in the wrong place")
            else:
                name, *arguments = statement
                statement = []
                block: list[Directive] = []
                if word == "{":
                    block, closed = self._block(words, within)
                    if not closed:
                        raise UnreadableError(f"the block of {name} does not end")
                elif name == "include":
                    found += self._included(arguments, within)
                    continue
                found.append(Directive(name, arguments, block, within[-1]))
        if statement:
            raise UnreadableError(f"{statement[0]} does not end")
        return found, False

    def _included(self, arguments: list[str], within: tuple[str, ...]) -> list[Directive]:
        pattern = str(PurePosixPath(self._main).parent / " ".join(arguments))
        paths = sorted(path for path in self._files if PurePosixPath(path).match(pattern))
        # What includes itself is read once.
        chains = [(*within, path) for path in paths if path not in within]
        return [directive for chain in chains for directive in self._file(chain)]


def dumped_files(dump: str) -> dict[str, str]:
    """The files in what `nginx -T` prints, by their paths."""
    _, *parts = HEADING.split(dump)
    return dict(zip(parts[::2], parts[1::2]))  # noqa: B905 - Python 3.9 has no `strict`


def files_of(main: Path) -> dict[str, str]:
    """The main file and what it includes, read without nginx."""
    files: dict[str, str] = {}
    ahead = [main]
    while ahead:
        path = ahead.pop(0)
        if str(path) in files or not path.is_file():
            continue
        files[str(path)] = path.read_text(encoding="utf-8", errors="replace")
        words = [word for word, _ in tokens(files[str(path)])]
        for at, word in enumerate(words[:-1]):
            if word == "include":
                pattern = main.parent / words[at + 1]
                ahead += sorted(Path("/").glob(str(pattern.relative_to("/"))))
    return files


def inherited(levels: list[list[Directive]], name: str) -> list[str]:
    """The words of a directive in the innermost of these blocks that has it; none without."""
    for block in reversed(levels):
        for directive in block:
            if directive.name == name:
                return directive.words
    return []


def upgrades(levels: list[list[Directive]]) -> bool:
    """Whether a request's `Upgrade` is passed on: headers of one level replace those outside."""
    for block in reversed(levels):
        headers = [d.words for d in block if d.name == "proxy_set_header"]
        if headers:
            return any(name.lower() == "upgrade" and value for name, value in headers)
    return False


def listens_of(server: list[Directive], levels: list[list[Directive]]) -> list[dict[str, Any]]:
    """Where a server listens, sockets of files left out."""
    every_tls = inherited(levels, "ssl") == ["on"]
    every_http2 = inherited(levels, "http2") == ["on"]
    found = []
    for words in [d.words for d in server if d.name == "listen"] or [["80"]]:
        where, *options = words
        if where.startswith("unix:"):
            continue
        if not where.rpartition(":")[2].strip("0123456789-"):
            address, _, ports = where.rpartition(":")
        else:
            address, ports = where, "80"
        first, _, last = ports.partition("-")
        found += [
            {
                "address": address.strip("[]") or "*",
                "port": port,
                "tls": every_tls or "ssl" in options,
                "http2": every_http2 or "http2" in options,
            }
            for port in range(int(first), int(last or first) + 1)
        ]
    return found


def upstream_of(block: list[Directive], upstreams: dict[str, list[str]]) -> str:
    """Where a location passes requests on to, each server of an upstream; empty for nowhere."""
    inside = [*block, *(inner for d in block if d.name == "if" for inner in d.block)]
    target = next((d.words[0] for d in inside if d.name == "proxy_pass"), "")
    scheme, slashes, rest = target.partition("://")
    name, slash, path = rest.partition("/")
    if name not in upstreams:
        return target
    # The name of a socket ends with a colon.
    ends = [":" if slash and server.startswith("unix:") else "" for server in upstreams[name]]
    return ", ".join(
        f"{scheme}{slashes}{server}{end}{slash}{path}"
        for server, end in zip(upstreams[name], ends)  # noqa: B905 - Python 3.9 has no `strict`
    )


def locations_of(
    levels: list[list[Directive]], upstreams: dict[str, list[str]]
) -> Iterator[dict[str, Any]]:
    """The locations in the innermost of these blocks, each before those that it holds."""
    for directive in levels[-1]:
        if directive.name != "location":
            continue
        inner = [*levels, directive.block]
        yield {
            "path": " ".join(directive.words),
            "upstream": upstream_of(directive.block, upstreams),
            "websocket": upgrades(inner),
            "body": " ".join(inherited(inner, "client_max_body_size")) or "1m",
            "read_timeout": " ".join(inherited(inner, "proxy_read_timeout")),
        }
        yield from locations_of(inner, upstreams)


def servers_of(configuration: list[Directive]) -> list[dict[str, Any]]:
    """`servers` of the survey."""
    found = []
    for http in [d.block for d in configuration if d.name == "http"]:
        upstreams = {
            d.words[0]: [
                s.words[0] for s in d.block if s.name == "server" and "down" not in s.words
            ]
            for d in http
            if d.name == "upstream"
        }
        for server in [d for d in http if d.name == "server"]:
            levels = [http, server.block]
            found.append(
                {
                    "file": server.file,
                    "listens": listens_of(server.block, levels),
                    "names": [n for d in server.block if d.name == "server_name" for n in d.words],
                    "root": " ".join(inherited(levels, "root")),
                    "locations": list(locations_of(levels, upstreams)),
                }
            )
    return found


def first_error(said: str) -> str:
    """The first error in what nginx says, without time and process."""
    lines = said.splitlines()
    errors = [line for line in lines if re.search(r"\[(emerg|alert|crit|error)\]", line)] or lines
    return re.sub(r"^\S+ \S+ \[\w+\] \d+#\d+: ", "", errors[0])


def read_web(main: Path, unreadable: list[str]) -> dict[str, Any]:
    """`web` of the survey.

    nginx is asked only where it runs: it makes an empty pid file where there is none.
    """
    found: dict[str, Any] = {"present": False, "running": False, "error": "", "servers": []}
    if not shutil.which("nginx", path=SYSTEM_PATH):
        return found
    found["present"] = True
    found["running"] = guarded("nginx", partial(is_active, "nginx"), False, unreadable)
    try:
        dump = output("nginx", "-T") if found["running"] else None
        files = dumped_files(dump) if dump else files_of(main)
        found["servers"] = servers_of(Parser(files).parsed()) if files else []
    except (UnreadableError, OSError, LookupError, ValueError) as error:
        found["error"] = first_error(str(error) or type(error).__name__)
    return found
