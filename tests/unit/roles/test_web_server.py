"""The whole site of a service, read as nginx reads it: each block says what it must."""

import json
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.role_files import ROOT, render

VARIABLES: dict[str, Any] = {
    **yaml.safe_load((ROOT / "roles/service/vars/main.yml").read_text()),
    "service_name": "one-two",
    "service_title": "service",
    "service_hosts": ["one.internal", "192.0.2.19"],
    "service_port": 443,
    "service_redirect_ports": [80, 8000],
    "service_socket": "/run/one/one.sock",
    "service_root": "/opt/one",
    "service_ipv6": False,
    "service_proxies": [],
    "service_pages": "pages",
    "service_page_prefix": "/own",
    "service_own_paths": [],
    "service_gateway": {},
    "service_page_paths": ["login"],
    "service_upload_paths": ["/api/import"],
}
TOKEN = re.compile(r"\"[^\"]*\"|'[^']*'|[{};]|(?:[^\s;{}\"']|(?<=\$)\{)+")


@dataclass
class Block:
    """Directives with their values in their order, and blocks by what stands before their brace."""

    says: dict[str, list[str]] = field(default_factory=dict)
    blocks: dict[str, "Block"] = field(default_factory=dict)


def parse(text: str) -> Block:
    whole = Block()
    open_blocks, words = [whole], list[str]()
    for token in TOKEN.findall(re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)):
        if token == "{":
            block = open_blocks[-1].blocks[" ".join(words)] = Block()
            open_blocks.append(block)
        elif token == "}":
            assert words == []
            open_blocks.pop()
        elif token == ";":
            open_blocks[-1].says.setdefault(words[0], []).append(" ".join(words[1:]))
        else:
            words.append(token)
            continue
        words.clear()
    assert open_blocks == [whole]
    return whole


def site(**changes: Any) -> Block:
    text = render("service", "etc/nginx/conf.d/site.conf.j2", **VARIABLES | changes)
    # Both servers have the same name; the last one is that of the service.
    whole = parse(text.replace("server {", "redirecting {", text.count("server {") - 1))
    assert all(not values[1:] for values in whole.says.values())
    return whole


def server(**changes: Any) -> Block:
    return site(**changes).blocks["server"]


HEADERS = [
    'Strict-Transport-Security "max-age=31536000" always',
    "X-Content-Type-Options nosniff always",
    "X-Frame-Options DENY always",
    "Referrer-Policy no-referrer always",
]
NOTHING = "Content-Security-Policy \"default-src 'none'; frame-ancestors 'none'\" always"
# Nothing of a page's is shared with what another page of the browser's shows.
PAGE = [
    "Cross-Origin-Opener-Policy same-origin always",
    "Cross-Origin-Resource-Policy same-origin always",
    'Permissions-Policy "accelerometer=(), camera=(), display-capture=(), geolocation=(), '
    "gyroscope=(), hid=(), magnetometer=(), microphone=(), midi=(), payment=(), serial=(), usb=(), "
    'xr-spatial-tracking=()" always',
]
LOCATIONS = {
    r"location ~ ^/(api|health|\.well-known)(/|$)": {"proxy_pass": ["http://autobot_one_two"]},
    # A file goes on while it comes, and so does what is said about it.
    "location = /api/import": {
        "proxy_pass": ["http://autobot_one_two"],
        "client_max_body_size": ["0"],
        "proxy_request_buffering": ["off"],
        "proxy_buffering": ["off"],
        "proxy_read_timeout": ["5m"],
    },
    r"location ~ ^/own/(index\.html|(login)(/.*)?)?$": {
        "try_files": ["/current/pages/index.html =404"],
        "default_type": ['"text/html; charset=utf-8"'],
        "gzip_static": ["on"],
        "gzip_vary": ["on"],
        # A page of another release must not pass for this one's: nothing tells when it was changed.
        "etag": ["off"],
        "if_modified_since": ["off"],
        "add_header": [
            'Last-Modified ""',
            "Cache-Control no-cache",
            *HEADERS,
            "Content-Security-Policy \"default-src 'none'; script-src 'self'; style-src 'self'; "
            "img-src 'self'; font-src 'self'; connect-src 'self'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
            'trusted-types vue" always',
            *PAGE,
        ],
    },
    "location = /own": {"return": ["302 /own/"]},
    "location = /.well-known/change-password": {"return": ["302 /own/settings/account"]},
    "location ~ ^/own(?<autobot_one_two_file>/assets/.*)$": {
        "try_files": [
            "/current/pages$autobot_one_two_file /previous/pages$autobot_one_two_file =404"
        ],
        "gzip_static": ["on"],
        "gzip_vary": ["on"],
        "add_header": [
            'Cache-Control "public, max-age=31536000, immutable"',
            *HEADERS,
            NOTHING,
            *PAGE,
        ],
    },
    # Where the pages were before.
    "location ~ ^/((login)(/.*)?)?$": {"return": ["302 /own$request_uri"]},
    "location /": {"return": ["404"]},
    "location ^~ /.problem/": {
        "internal": [""],
        "default_type": ["application/problem+json"],
        "add_header": [*HEADERS, NOTHING, "Cache-Control no-store always"],
    },
}


def test_each_location_says_what_it_must() -> None:
    blocks = server().blocks
    assert {where: block.says for where, block in blocks.items()} == LOCATIONS
    inner = {where: list(block.blocks) for where, block in blocks.items() if block.blocks}
    # Without types of files, the page has the one that is said.
    assert inner.pop(r"location ~ ^/own/(index\.html|(login)(/.*)?)?$") == ["types"]
    assert list(inner) == ["location ^~ /.problem/"]


def test_the_service_is_served_over_tls_within_limits() -> None:
    says = dict(server().says)
    del says["error_page"]
    log = "autobot_one_two"
    assert says == {
        "listen": ["443 ssl default_server"],
        "server_name": ["one.internal 192.0.2.19"],
        "server_tokens": ["off"],
        "access_log": [f"/var/log/nginx/access.log {log}"],
        "ssl_certificate": ["/etc/autobot-users/tls/https.crt"],
        "ssl_certificate_key": ["/etc/autobot-users/tls/https.key"],
        "ssl_protocols": ["TLSv1.2 TLSv1.3"],
        "ssl_ciphers": ["ECDHE+AESGCM:ECDHE+CHACHA20"],
        "ssl_session_cache": ["shared:autobot_one-two:1m"],
        "ssl_session_tickets": ["off"],
        "client_max_body_size": ["64k"],
        # A body is kept in memory, whole: none comes to the disk.
        "client_body_buffer_size": ["64k"],
        "client_header_timeout": ["10s"],
        "client_body_timeout": ["10s"],
        "limit_conn": [f"{log}_requests 2500"],
        "limit_conn_status": ["429"],
        "limit_conn_log_level": ["warn"],
        "add_header": [*HEADERS, NOTHING],
        "gzip": ["off"],
        "absolute_redirect": ["off"],
        "proxy_http_version": ["1.1"],
        "proxy_set_header": [
            "Connection close",
            "Host $host",
            "X-Forwarded-For $remote_addr",
            "X-Forwarded-Proto $scheme",
            'Forwarded ""',
        ],
        "proxy_connect_timeout": ["5s"],
        # More than a request that waits for a dead database takes.
        "proxy_read_timeout": ["30s"],
        "proxy_next_upstream": ["error"],
        "proxy_max_temp_file_size": ["0"],
        "root": ["/opt/one"],
    }


def test_named_proxies_are_believed_as_a_chain() -> None:
    says = server(service_proxies=["192.0.2.1", "192.0.2.2"]).says
    assert says["set_real_ip_from"] == ["192.0.2.1", "192.0.2.2"]
    assert says["real_ip_header"] == ["X-Forwarded-For"]
    assert says["real_ip_recursive"] == ["on"]


def test_plain_http_leads_to_tls_and_does_nothing_else() -> None:
    whole = site()
    assert whole.blocks["redirecting"] == Block(
        {
            "listen": ["80 default_server", "8000 default_server"],
            "server_tokens": ["off"],
            "access_log": ["/var/log/nginx/access.log autobot_one_two"],
            "client_header_timeout": ["10s"],
            "keepalive_timeout": ["0"],
            "return": ["308 https://$autobot_one_two_host$request_uri"],
        }
    )
    assert "redirecting" not in site(service_redirect_ports=[]).blocks


def test_what_all_servers_share_is_named_after_the_service() -> None:
    whole = site()
    log = "autobot_one_two"
    assert whole.says == {
        "log_format": [
            f'{log} \'$remote_addr [$time_iso8601] "$request_method ${log}_path" $status '
            '$body_bytes_sent "$http_user_agent"\''
        ],
        "limit_conn_zone": [f"$binary_remote_addr zone={log}_requests:1m"],
    }
    assert whole.blocks.keys() == {
        f"map $request_uri ${log}_path",
        f"map $host ${log}_host",
        f"upstream {log}",
        "redirecting",
        "server",
    }
    # A process that ends is followed by the next one: never one that is out of order.
    assert whole.blocks[f"upstream {log}"].says == {
        "server": ["unix:/run/one/one.sock max_fails=0"] * 2
    }


# The names of RFC 9110, which later versions of Python have.
TITLES = {413: "Content Too Large", 414: "URI Too Long"}
MORE = {405: 'Allow "GET, HEAD" always', 429: "Retry-After 5 always"}


@pytest.mark.parametrize("pages", ["", "pages"])
def test_each_error_of_nginx_is_a_problem_in_json(pages: str) -> None:
    found = server(service_pages=pages)
    errors = found.says["error_page"]
    # What is no HTTP at all on a port of TLS is plain HTTP.
    assert errors.pop(0) == "497 =308 https://$autobot_one_two_host$request_uri"
    statuses = [400, 404, 408, 413, 414, 429, 502, 503, 504, *([405] if pages else [])]
    assert sorted(errors) == sorted(
        # 494 is nginx's own: headers that are too large.
        "400 494 =400 /.problem/400" if status == 400 else f"{status} /.problem/{status}"
        for status in statuses
    )
    blocks = found.blocks["location ^~ /.problem/"].blocks
    assert blocks.keys() == {f"location = /.problem/{status}" for status in statuses}
    for status in statuses:
        says = blocks[f"location = /.problem/{status}"].says
        ((code, document),) = (value.split(" ", 1) for value in says.pop("return"))
        assert int(code) == status
        problem = json.loads(document.strip("'"))
        assert problem.keys() == {"type", "title", "status", "detail"}
        assert (problem["type"], problem["status"]) == ("about:blank", status)
        assert problem["title"] == TITLES.get(status, HTTPStatus(status).phrase)
        assert problem["detail"].endswith(".")
        # What adds a header of its own has none of those outside.
        inherited = LOCATIONS["location ^~ /.problem/"]["add_header"]
        more = MORE.get(status)
        assert says == ({"add_header": [*inherited, more]} if more else {})


def test_a_site_is_checked_as_the_user_that_serves(tmp_path: Path) -> None:
    """Else nginx gives its directories of uploads to another, and uploads fail until it reloads."""
    files = yaml.safe_load((ROOT / "roles/service/vars/main.yml").read_text())["service_site_files"]
    (command,) = (each["validate"] for each in files if "validate" in each)
    whole, nginx = tmp_path / "nginx.conf", tmp_path / "nginx"
    whole.write_text("# user nobody;\nuser www-data;\nworker_processes auto;\n")
    nginx.write_text('#!/bin/sh\ncat "$4"\nexit 3\n')
    nginx.chmod(0o755)
    run = subprocess.run(
        shlex.split(command.replace("/etc/nginx/nginx.conf", str(whole)) % "/x/site.conf"),
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 3, run.stderr
    assert run.stdout == "user www-data;\nevents {} http { include /x/site.conf; }\n"
