"""The admin UI as nginx serves it: its headers, what caches keep, and what nobody can reach."""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import importlib.util
import re
import secrets
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.lab.site import ROOT, STATE, Site, must, on

SERVER = "/opt/autobot-users/slm-server"
PAGES = f"{SERVER}/current/admin_ui"

COMMON = {
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'"
OF_PAGES = {
    **COMMON,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": (
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), hid=(), "
        "magnetometer=(), microphone=(), midi=(), payment=(), serial=(), usb=(), "
        "xr-spatial-tracking=()"
    ),
}
PAGE = {
    **OF_PAGES,
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types vue"
    ),
    "cache-control": "no-cache",
}
ASSET = {
    **OF_PAGES,
    "content-security-policy": NOTHING,
    "cache-control": "public, max-age=31536000, immutable",
}
PROBLEM = {
    **COMMON,
    "content-type": "application/problem+json",
    "content-security-policy": NOTHING,
    "cache-control": "no-store",
}
# What depends on the answer's content and time.
OTHERS = {"connection", "content-length", "date", "server", "accept-ranges", "vary"}
# Where the pages are.
AT = "/user-management"


@pytest.fixture
def client(site: Site) -> Iterator[httpx2.Client]:
    with site.client() as client:
        yield client


@pytest.fixture
def script(client: httpx2.Client) -> str:
    """The address of the page's script."""
    found = re.search(rf'<script[^>]* src="({AT}/assets/[^"]+\.js)"', client.get(f"{AT}/").text)
    assert found is not None
    return found[1]


def headers_of(answer: httpx2.Response, *more: str) -> dict[str, str]:
    """The headers that are the same in every release; a header that comes twice is seen twice."""
    return {
        name: ", ".join(answer.headers.get_list(name))
        for name in answer.headers
        if name not in {*OTHERS, *more}
    }


def raw(site: Site, target: str) -> bytes:
    """The answer to a request that no client would send as it is."""
    url = httpx2.URL(site.slm_url)
    context = ssl.create_default_context(cafile=str(site.ca))
    with (
        socket.create_connection((url.host, url.port or 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=url.host) as connection,
    ):
        connection.sendall(f"GET {target} HTTP/1.0\r\nHost: {url.host}\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    "path",
    ["/", "/index.html", "/login", "/settings/admin/users", "/settings/admin/users?q=a"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_address_of_the_pages_is_the_page(
    client: httpx2.Client, method: str, path: str
) -> None:
    answer = client.request(method, f"{AT}{path}")
    assert answer.status_code == 200
    assert headers_of(answer, "content-encoding") == PAGE
    page = must("slm", "cat", f"{PAGES}/index.html")
    assert answer.text.strip() == ("" if method == "HEAD" else page)


def test_a_forgotten_slash_is_added(client: httpx2.Client) -> None:
    assert client.get(AT).headers["location"] == f"{AT}/"


@pytest.mark.parametrize("path", ["/", "/login", "/settings/admin/users?q=a", "/change-password"])
def test_where_the_pages_were_they_are_found(client: httpx2.Client, path: str) -> None:
    answer = client.get(path)
    # Whatever port the browser knows the server by.
    assert (answer.status_code, answer.headers["location"]) == (302, f"{AT}{path}")


@pytest.mark.parametrize(
    "path",
    [
        "/autobot-api/users",
        "/autobot-api",
        "/grafana/api/health",
        "/slm-api/",
        "/apiary",
        "/API/slm-users",
        "/api.json",
        "/ws",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/.env",
        "/.git/config",
        "/user-managementx/",
        "/assets/index.js",
        "/loginx",
        "/index.html/x",
        "/api/../grafana/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_nobodys_is_not_found(client: httpx2.Client, method: str, path: str) -> None:
    """A program that asks for another API must not take the page for its answer."""
    answer = client.request(method, path)
    assert answer.status_code == 404
    assert headers_of(answer, "x-request-id") == PROBLEM
    assert answer.json()["status"] == 404


@pytest.mark.parametrize("header", ["If-None-Match", "If-Modified-Since"])
def test_no_old_page_passes_for_valid(client: httpx2.Client, header: str) -> None:
    """The files of all releases have the same date, and their pages often the same length."""
    date, size = map(int, must("slm", "stat", "-c", "%Y %s", f"{PAGES}/index.html").split())
    marks = {
        "If-None-Match": f'"{date:x}-{size:x}"',
        "If-Modified-Since": email.utils.formatdate(date, usegmt=True),
    }
    answer = client.get(f"{AT}/", headers={header: marks[header], "Accept-Encoding": "identity"})
    assert answer.status_code == 200
    assert {"etag", "last-modified"}.isdisjoint(answer.headers)


def test_the_assets_are_kept_for_good(client: httpx2.Client) -> None:
    names = must("slm", "ls", f"{PAGES}/assets").split()
    assert names
    for name in names:
        answer = client.get(f"{AT}/assets/{name}")
        assert answer.status_code == 200, name
        kept = headers_of(answer, "content-encoding", "content-type", "etag", "last-modified")
        assert kept == ASSET, name


def test_scripts_and_styles_have_their_types(client: httpx2.Client) -> None:
    types = {".js": "application/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    seen = set()
    for name in must("slm", "ls", f"{PAGES}/assets").split():
        suffix = f".{name.rpartition('.')[2]}"
        if suffix in types:
            seen.add(suffix)
            assert client.get(f"{AT}/assets/{name}").headers["content-type"] == types[suffix], name
    assert seen >= {".js", ".css"}


@pytest.mark.parametrize("path", ["/assets/", "/assets/gone-12345678.js", "/assets/index.html"])
def test_an_asset_that_is_not_there_is_no_page(client: httpx2.Client, path: str) -> None:
    answer = client.get(f"{AT}{path}")
    assert answer.status_code == 404
    assert headers_of(answer) == PROBLEM
    assert answer.json()["title"] == "Not Found"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_the_pages_can_only_be_read(client: httpx2.Client, script: str, method: str) -> None:
    for path in (f"{AT}/", f"{AT}/settings/admin/users", script):
        answer = client.request(method, path)
        assert answer.status_code == 405
        assert headers_of(answer) == {**PROBLEM, "allow": "GET, HEAD"}
        assert answer.json()["title"] == "Method Not Allowed"


@pytest.mark.parametrize("path", [f"{AT}/", "script"])
def test_pages_and_assets_are_sent_compressed(
    client: httpx2.Client, script: str, path: str
) -> None:
    path = script if path == "script" else path
    with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain.content
    assert len(packed) < len(plain.content)
    assert "content-encoding" not in plain.headers
    assert answer.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("path", ["/.well-known/jwks.json", "/api/openapi.json", "/api/nothing"])
def test_answers_of_the_service_are_not_compressed(api: httpx2.Client, path: str) -> None:
    """Their length would tell of a secret in them beside what somebody else chose."""
    answer = api.get(path, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/nothing", "/health", "/.well-known/x"])
def test_the_service_answers_below_its_addresses(client: httpx2.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert headers_of(answer, "x-request-id") == PROBLEM


def test_a_page_that_was_open_during_a_switch_finds_its_files(client: httpx2.Client) -> None:
    name = f"test-{secrets.token_hex(4)}.js"
    directory, previous = f"{SERVER}/releases/{name}", f"{SERVER}/previous"
    before = on("slm", "readlink", previous).stdout.strip()
    must("slm", "install", "-D", "/dev/stdin", f"{directory}/admin_ui/assets/{name}", stdin="1\n")
    try:
        must("slm", "ln", "-sfn", directory, previous)
        answer = client.get(f"{AT}/assets/{name}")
        assert answer.status_code == 200
        assert answer.text == "1\n"
        assert answer.headers["cache-control"] == ASSET["cache-control"]
    finally:
        must("slm", "rm", "-r", directory, previous)
        if before:
            must("slm", "ln", "-sfn", before, previous)
    assert client.get(f"{AT}/assets/{name}").status_code == 404


@pytest.mark.parametrize(
    "target",
    [
        "/requirements.txt",
        "/current/requirements.txt",
        "/current/admin_ui/assets/../../requirements.txt",
        "/assets/../../requirements.txt",
        "/assets/../requirements.txt",
        "/assets/%2e%2e/%2e%2e/requirements.txt",
        "/assets/..%2f..%2frequirements.txt",
        "/assets/....//....//requirements.txt",
        "/assets/..\\..\\requirements.txt",
        "/assets/.complete",
        "/assets/../.complete",
        "/.complete",
        "/.gitignore",
        "/pyvenv.cfg",
        "/assets//etc/passwd",
        "//etc/passwd",
        "/assets/%00",
    ],
)
def test_nothing_else_of_the_release_is_reachable(site: Site, target: str) -> None:
    # As it is written, and below the pages.
    for path in (target, f"{AT}{target}"):
        refuses_to_show(raw(site, path))


def refuses_to_show(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200"):
        assert body.decode().strip() == must("slm", "cat", f"{PAGES}/index.html")
    else:
        assert re.match(rb"HTTP/1\.1 40[04] ", head), head
        assert b"application/problem+json" in head


def test_only_the_built_pages_are_on_the_host() -> None:
    found = must("slm", "find", PAGES, "-type", "f", "-printf", "%P\n").splitlines()
    others = [name for name in found if not name.startswith("assets/")]
    assert sorted(others) == ["index.html", "index.html.gz"]
    # The CSV is the import's template.
    kinds = {name.removesuffix(".gz").rpartition(".")[2] for name in found}
    assert kinds == {"html", "js", "css", "svg", "csv"}
    assert must("slm", "find", SERVER, "-name", "package*.json", "-path", "*admin_ui*") == ""


def test_the_same_sources_give_the_same_pages(tmp_path: Path) -> None:
    """Built once more, somewhere else: as the hosts have them."""
    spec = importlib.util.spec_from_file_location(
        "build_release", ROOT / "scripts/build_release.py"
    )
    assert spec is not None
    assert spec.loader is not None
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    built = builder.admin_ui(ROOT, STATE / "build/npm", tmp_path)
    digests = {name: hashlib.sha256(contents).hexdigest() for name, contents in built}
    listed = must("slm", "sh", "-c", f"cd {PAGES}/.. && find admin_ui -type f | xargs sha256sum")
    assert {line.split()[1]: line.split()[0] for line in listed.splitlines()} == digests


def test_nobody_but_root_changes_the_pages() -> None:
    loose = must("slm", "find", "-L", PAGES, "-not", "-user", "root", "-o", "-perm", "/022")
    assert loose == ""
