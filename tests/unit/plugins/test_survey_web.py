"""What the survey reads of nginx, from what `nginx -T` really prints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.autobot.users.plugins.module_utils.survey import web
from ansible_collections.autobot.users.plugins.module_utils.survey.reading import UnreadableError

# nginx 1.22.1 with the servers of an SLM and of a backend, each with what is easily misread.
DUMP = r"""# configuration file /etc/nginx/nginx.conf:
user www-data;
pid /run/nginx.pid;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections 768; }
http {
    proxy_read_timeout 90s;
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    include conf.d/*.conf;
    include /etc/nginx/sites-enabled/*;
}
stream { server { listen 5433; proxy_pass 127.0.0.1:5432; } }

# configuration file /etc/nginx/conf.d/upstreams.conf:
upstream api { server 127.0.0.1:8001 max_fails=0; server unix:/run/api.sock; server 10.0.0.9 down; }

# configuration file /etc/nginx/sites-enabled/autobot-backend:
server {
    listen 8443 ssl;
    http2 on;
    proxy_set_header Upgrade $http_upgrade;
    location / { proxy_pass http://api; }
    location /api/ {
        proxy_set_header Host $host;   # none of the server's is inherited
        proxy_pass http://api/v1/;
        location = /api/chat { proxy_pass "http://api"; proxy_read_timeout 300; }
    }
    location /plain/ { proxy_set_header Upgrade ""; if ($arg_x) { proxy_pass http://${host}:9; } }
}

# configuration file /etc/nginx/sites-enabled/autobot-slm:
# server { listen 1; }
server {
    listen 80 default_server; listen [::]:80 default_server;
    server_name _;
    return 301 https://$host$request_uri;
}
server {
    listen 172.16.168.19:443 ssl http2; listen unix:/run/slm.sock;
    server_name slm.example
        autobot.example;
    root "/opt/autobot/the \"dist\"";
    client_max_body_size 10m;
    add_header Content-Security-Policy 'a; b { c } # d' always;
    location ~* "^/x\d{3}\.(js|css)$" { try_files $uri /index.html; }
    location /api/ws/ {
        include snippets/websocket.conf;
        proxy_pass http://127.0.0.1:8000;
        proxy_read_timeout 86400s;
    }
}

# configuration file /etc/nginx/snippets/websocket.conf:
proxy_set_header upgrade $http_upgrade;
proxy_set_header Connection "upgrade";
"""


def location(path: str, upstream: str, timeout: str = "90s", **more: Any) -> dict[str, Any]:
    return {
        "path": path,
        "upstream": upstream,
        "read_timeout": timeout,
        **{"websocket": False, "body": "1m", **more},
    }


def listen(address: str, port: int, tls: bool = False, http2: bool = False) -> dict[str, Any]:
    return {"address": address, "port": port, "tls": tls, "http2": http2}


SLM, BACKEND = "/etc/nginx/sites-enabled/autobot-slm", "/etc/nginx/sites-enabled/autobot-backend"
SERVERS = [
    {
        "file": BACKEND,
        "listens": [listen("*", 8443, True, True)],
        "names": [],
        "root": "",
        "locations": [
            location("/", "http://127.0.0.1:8001, http://unix:/run/api.sock", websocket=True),
            location("/api/", "http://127.0.0.1:8001/v1/, http://unix:/run/api.sock:/v1/"),
            # It has no header of its own, but the location that it is in has.
            location("= /api/chat", "http://127.0.0.1:8001, http://unix:/run/api.sock", "300"),
            location("/plain/", "http://${host}:9"),
        ],
    },
    {
        "file": SLM,
        "listens": [listen("*", 80), listen("::", 80)],
        "names": ["_"],
        "root": "",
        "locations": [],
    },
    {
        "file": SLM,
        "listens": [listen("172.16.168.19", 443, True, True)],
        "names": ["slm.example", "autobot.example"],
        "root": '/opt/autobot/the "dist"',
        "locations": [
            location(r"~* ^/x\d{3}\.(js|css)$", "", body="10m"),
            location("/api/ws/", "http://127.0.0.1:8000", "86400s", websocket=True, body="10m"),
        ],
    },
]


def servers(text: str) -> list[dict[str, Any]]:
    """The servers of a configuration in one file, within http."""
    return web.servers_of(web.Parser({"/etc/nginx/nginx.conf": f"http {{ {text} }}"}).parsed())


class TestConfiguration:
    def test_what_is_served_and_where_it_is_passed_on(self) -> None:
        assert web.servers_of(web.Parser(web.dumped_files(DUMP)).parsed()) == SERVERS

    def test_it_is_read_without_nginx_the_same_way(self, tmp_path: Path) -> None:
        for path, text in web.dumped_files(DUMP).items():
            file = tmp_path / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("include /", f"include {tmp_path}/"))
        (tmp_path / "etc/nginx/sites-enabled/old").mkdir()
        files = web.files_of(tmp_path / "etc/nginx/nginx.conf")
        found = web.servers_of(web.Parser(files).parsed())
        assert [it | {"file": it["file"].replace(str(tmp_path), "")} for it in found] == SERVERS

    @pytest.mark.parametrize(
        ("directives", "expected"),
        [
            ("", [listen("*", 80)]),
            ("listen *:81;", [listen("*", 81)]),
            ("listen 127.0.0.1;", [listen("127.0.0.1", 80)]),
            ("listen localhost:8080;", [listen("localhost", 8080)]),
            ("listen [::1];", [listen("::1", 80)]),
            ("listen [fd00::19]:443 ssl;", [listen("fd00::19", 443, True)]),
            ("listen 8000-8001;", [listen("*", 8000), listen("*", 8001)]),
            # Ubuntu 22.04 has nginx 1.18.
            ("ssl on; listen 443;", [listen("*", 443, True)]),
            ("ssl off; http2 off; listen 443;", [listen("*", 443)]),
            ("listen unix:/run/x.sock;", []),
        ],
    )
    def test_where_a_server_listens(self, directives: str, expected: list[Any]) -> None:
        assert servers(f"server {{ {directives} }}")[0]["listens"] == expected

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a b;c{}", ["a", "b", ";", "c", "{", "}"]),
            ("a # b;\n#c\nd#e;", ["a", "d#e", ";"]),
            (r'"a;\"b" ' + r"'c\'{d' e\ f;", ['a;"b', "c'{d", r"e\ f", ";"]),
            (r"a\tb x\\y \d;", ["a\tb", r"x\y", r"\d", ";"]),
            ("${a}b$c{", ["${a}b$c", "{"]),
            ("a\"b ''", ['a"b', ""]),
        ],
    )
    def test_words_are_nginxs(self, text: str, words: list[str]) -> None:
        assert [word for word, _ in web.tokens(text)] == words

    def test_a_quoted_brace_is_no_brace(self) -> None:
        assert [is_mark for _, is_mark in web.tokens("\"{\" ';' {")] == [False, False, True]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("http {", "the block of http does not end"),
            ("http { server } ", "a } is in the wrong place"),
            ("a; }", "it closes a block that it does not open"),
            ("http { ; }", "a ; is in the wrong place"),
            ("user", "user does not end"),
            ("a;\nb 'c;\n", "line 2 is not understood"),
            ("a \\", "line 1 is not understood"),
        ],
    )
    def test_what_is_no_configuration_is_refused(self, text: str, reason: str) -> None:
        with pytest.raises(UnreadableError, match=f"^/n.conf: {reason}$"):
            web.Parser({"/n.conf": text}).parsed()

    def test_what_includes_itself_is_read_once(self, tmp_path: Path) -> None:
        for name in ("nginx.conf", "other.conf"):
            (tmp_path / name).write_text("include *.conf; http { server { } }")
        files = web.files_of(tmp_path / "nginx.conf")
        found = web.servers_of(web.Parser(files).parsed())
        assert [Path(it["file"]).name for it in found] == ["other.conf", "nginx.conf"]


FAILED = """\
2026/11/29 20:17:14 [warn] 17912#17912: conflicting server name "" on 0.0.0.0:8080, ignored
2026/11/29 20:17:14 [emerg] 17915#17915: unknown directive "wrong" in /etc/nginx/nginx.conf:2
nginx: configuration file /etc/nginx/nginx.conf test failed
"""


class TestReading:
    @pytest.fixture
    def read(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
        main = tmp_path / "nginx.conf"
        main.write_text("http { server { listen 81; } }")

        def read(installed: bool, running: bool, output: Callable[..., str]) -> Any:
            monkeypatch.setattr("shutil.which", lambda *_, **__: "nginx" if installed else None)
            monkeypatch.setattr(web, "is_active", lambda unit: running and unit == "nginx")
            monkeypatch.setattr(web, "output", output)
            unreadable: list[str] = []
            found = web.read_web(main, unreadable)
            assert unreadable == []
            ports = [it["port"] for server in found["servers"] for it in server["listens"]]
            return found["present"], found["running"], found["error"], ports

        return read

    def test_nginx_is_asked_where_it_runs_only(self, read: Callable[..., Any]) -> None:
        """It would make an empty pid file."""

        def asked(*command: str) -> str:
            assert command == ("nginx", "-T")
            raise UnreadableError(said)

        said = FAILED
        error = 'unknown directive "wrong" in /etc/nginx/nginx.conf:2'
        assert read(True, True, asked) == (True, True, error, [])
        said = "no answer within 20 seconds"
        assert read(True, True, asked) == (True, True, said, [])
        assert read(True, False, asked) == (True, False, "", [81])
        assert read(False, False, asked) == (False, False, "", [])
        assert read(True, True, lambda *_: DUMP) == (True, True, "", [8443, 80, 80, 443])
