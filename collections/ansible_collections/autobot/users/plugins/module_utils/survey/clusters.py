"""The clusters of PostgreSQL that a host has, their settings and who may come to them."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .psql import PATH, AnswerError, Connect, as_owner, ask, run

CONFIGURATIONS = Path("/etc/postgresql")

# pg_hba_file_rules has other columns in each version: all that there are, by their names.
CLUSTER_QUERY = """
SELECT json_build_object(
  'ssl', current_setting('ssl') = 'on',
  'checksums', current_setting('data_checksums') = 'on',
  'listen_addresses', current_setting('listen_addresses'),
  'config_file', current_setting('config_file'),
  'hba_file', current_setting('hba_file'),
  'databases', (
    SELECT coalesce(json_agg(json_build_object(
      'name', datname, 'owner', pg_get_userbyid(datdba),
      'size_bytes', coalesce(pg_database_size(oid), 0),
      'encoding', pg_encoding_to_char(encoding), 'collate', datcollate, 'ctype', datctype
    ) ORDER BY datname), '[]') FROM pg_database WHERE NOT datistemplate),
  'roles', (
    SELECT coalesce(json_agg(json_build_object(
      'name', rolname, 'login', rolcanlogin, 'superuser', rolsuper
    ) ORDER BY rolname), '[]') FROM pg_roles WHERE rolname !~ '^pg_'),
  'rules', (
    SELECT coalesce(json_agg(to_json(rule) ORDER BY ordinality), '[]')
    FROM pg_hba_file_rules() WITH ORDINALITY AS rule),
  'clients', (
    SELECT coalesce(json_agg(json_build_object(
      'address', address, 'role', role, 'database', database, 'tls', tls,
      'connections', connections
    ) ORDER BY address, role, database, tls), '[]')
    FROM (
      SELECT coalesce(host(client_addr), '') AS address, coalesce(usename, '') AS role,
             coalesce(datname, '') AS database, coalesce(ssl, false) AS tls,
             count(*) AS connections
      FROM pg_stat_activity LEFT JOIN pg_stat_ssl USING (pid)
      WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
      GROUP BY 1, 2, 3, 4
    ) AS client))
"""

# As the server has it in guc-file.l.
ENTRY = re.compile(
    r"\s*([A-Za-z_][\w.$]*)(?:\s*=\s*|\s+|(?='))('(?:[^'\\]|\\.|'')*'|[^\s#'=]+)\s*(?:#.*)?"
)

INCLUDES = ("include", "include_if_exists", "include_dir")
NESTED_FILES = 10
TRUE = re.compile(r"on|t|tr|tru|true|y|ye|yes|1", re.IGNORECASE)


def clusters(connect: Connect = as_owner) -> list[dict[str, Any]]:
    """The clusters of this host, as the survey has them; none without Debian's pg_lsclusters.

    What cannot be read of a cluster is said in its `error`; `ssl` and `checksums` are None where
    they are not known. Where no cluster can be listed there is one without a name that says why.
    """
    if shutil.which("pg_lsclusters", path=PATH) is None:
        return []
    try:
        found = listed(run(["pg_lsclusters", "--no-header"], {"PATH": PATH, "LC_ALL": "C"}))
    except AnswerError as error:
        return [{**_cluster("", "", 0, False, "", ""), "error": str(error)}]
    return [described(cluster, connect) for cluster in found]


def listed(text: str) -> list[dict[str, Any]]:
    """The clusters of `pg_lsclusters --no-header`, with nothing but what it says."""
    found = []
    for line in text.splitlines():
        columns = line.split(maxsplit=6)
        if len(columns) < 6:
            continue
        version, name, port, status, owner, data = (
            "" if column == "<unknown>" else column for column in columns[:6]
        )
        is_running = status.split(",")[0] == "online"
        found.append(_cluster(version, name, int(port or 0), is_running, owner, data))
    return found


def described(
    cluster: dict[str, Any], connect: Connect = as_owner, configurations: Path = CONFIGURATIONS
) -> dict[str, Any]:
    """A cluster of `listed` with what its server says, or its files where it does not run."""
    cluster = dict(cluster)
    errors = []
    if cluster["running"]:
        try:
            said = ask(connect, cluster, "postgres", CLUSTER_QUERY)
        except AnswerError as error:
            errors.append(str(error))
        else:
            rules = said.pop("rules")
            cluster.update(said)
            cluster["hba"], cluster["hba_errors"], unread = hba(rules, cluster["hba_file"])
            errors += unread
    if not cluster["config_file"]:
        cluster["config_file"] = _configuration_file(cluster, configurations)
    try:
        written = list(entries(Path(cluster["config_file"])))
        by_command = _settings_by_command(cluster)
    except (OSError, ValueError) as error:
        errors.append(str(error))
    else:
        cluster.update(_around_directory(Path(cluster["config_file"]), written))
        cluster["later"] |= {name: str(file) for file, name, _ in by_command}
        if not cluster["running"]:
            settings = {name: value for _, name, value in (*written, *by_command)}
            default = Path(cluster["data_directory"], "pg_hba.conf")
            cluster["hba_file"] = settings.get("hba_file", str(default))
            cluster["listen_addresses"] = settings.get("listen_addresses", "localhost")
            cluster["ssl"] = TRUE.fullmatch(settings.get("ssl", "off")) is not None
    cluster["error"] = " ".join(errors)
    return cluster


def _around_directory(configuration: Path, written: list[tuple[Path, str, str]]) -> dict[str, Any]:
    """`include_dir`: whether conf.d beside a postgresql.conf is read; `later`: what comes then."""
    beside = (configuration.parent / "conf.d").resolve()
    is_read = False
    later: dict[str, str] = {}
    for file, name, value in written:
        if name == "include_dir" and Path(value).resolve() == beside:
            is_read = True
        elif is_read and file.parent.resolve() != beside:
            later[name] = str(file)
    return {"include_dir": is_read, "later": later}


def hba(
    rules: Iterable[dict[str, Any]], hba_file: str
) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Lines of pg_hba.conf, what the server finds wrong there, and which files were not read.

    `rules` are the rows of pg_hba_file_rules in their order. Each line has its file, because the
    server may include others, and its text.
    """
    lines: list[dict[str, Any]] = []
    errors: list[str] = []
    unread: dict[str, str] = {}
    texts: dict[str, list[str]] = {}
    for rule in rules:
        file, number = rule.get("file_name") or hba_file, rule["line_number"]
        # Of a line that only matches nobody as things are, hostssl without TLS, all is known, and
        # the server takes its file.
        if rule["type"] is None:
            place = f"line {number}" if file == hba_file else f"{file} line {number}"
            errors.append(f"{place}: {rule['error']}")
            continue
        if file not in texts:
            try:
                texts[file] = Path(file).read_text("utf-8", "replace").split("\n")
            except OSError as error:
                texts[file], unread[file] = [], str(error)
        lines.append(
            {
                "file": file,
                "line": number,
                "type": rule["type"],
                "databases": rule["database"],
                "roles": rule["user_name"],
                "address": _network(rule["address"], rule["netmask"]),
                "method": rule["auth_method"],
                "text": _logical_line(texts[file], number),
            }
        )
    return lines, errors, list(unread.values())


def entries(file: Path, depth: int = 0) -> Iterator[tuple[Path, str, str]]:
    """Files, names (in lower case) and values of a postgresql.conf, included files in their places.

    An `include_dir` has the directory's whole path. Raises OSError, and ValueError for files that
    include each other.
    """
    if depth > NESTED_FILES:
        raise ValueError(f"{file} is included by too many files, one by the other.")
    for line in file.read_text("utf-8", "replace").split("\n"):
        entry = ENTRY.fullmatch(line)
        if entry is None:
            continue
        name, value = entry[1].lower(), _unquoted(entry[2])
        place = file.parent / value
        if name not in INCLUDES:
            yield file, name, value
        elif name == "include_dir":
            yield file, name, str(place)
            for each in sorted(place.iterdir(), key=os.fsencode):
                is_hidden = each.name.startswith(".")
                if each.suffix == ".conf" and not is_hidden and not each.is_dir():
                    yield from entries(each, depth + 1)
        elif name == "include" or place.exists():
            yield from entries(place, depth + 1)


def _cluster(
    version: str, name: str, port: int, running: bool, owner: str, data_directory: str
) -> dict[str, Any]:
    return {
        "version": version,
        "name": name,
        "port": port,
        "running": running,
        "owner": owner,
        "data_directory": data_directory,
        "config_file": "",
        "hba_file": "",
        "listen_addresses": "",
        "ssl": None,
        "checksums": None,
        "include_dir": False,
        # Settings that come after those of conf.d, and where they stand.
        "later": {},
        "databases": [],
        "roles": [],
        "hba": [],
        "hba_errors": [],
        "clients": [],
        "error": "",
    }


def _configuration_file(cluster: dict[str, Any], configurations: Path) -> str:
    """Debian's place for it, or else PostgreSQL's own."""
    debians = configurations / cluster["version"] / cluster["name"] / "postgresql.conf"
    if debians.exists() or not cluster["data_directory"]:
        return str(debians)
    return str(Path(cluster["data_directory"], debians.name))


def _settings_by_command(cluster: dict[str, Any]) -> list[tuple[Path, str, str]]:
    """What ALTER SYSTEM has set, which comes after all files. Raises OSError, ValueError."""
    file = Path(cluster["data_directory"], "postgresql.auto.conf")
    return list(entries(file)) if file.exists() else []


def _unquoted(value: str) -> str:
    if not value.startswith("'"):
        return value
    return re.sub(r"\\(.)|''", lambda found: found[1] or "'", value[1:-1])


def _network(address: str | None, netmask: str | None) -> str | None:
    """An address of pg_hba_file_rules with its netmask, as one writes both."""
    if address is None or netmask is None:
        return address
    mask = ipaddress.ip_address(netmask)
    bits = f"{int(mask):0{mask.max_prefixlen}b}"
    return f"{address}/{netmask if '01' in bits else bits.count('1')}"


def _logical_line(lines: list[str], number: int) -> str:
    """A line of a file, and those that it goes on in; "" where the file was not read."""
    text = ""
    for line in lines[number - 1 :]:
        text += line.rstrip("\r")
        if not text.endswith("\\"):
            break
        text = text[:-1]
    return text.strip()
