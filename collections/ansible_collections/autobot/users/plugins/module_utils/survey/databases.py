"""What a host has of PostgreSQL, and of AutoBot's users in it.

It is only read: as the owner of each cluster, over its socket, in sessions that cannot write. Who
owns a database there must not get our superuser to run their code, so no name is looked up in
their schemas, and of their objects only plain tables are read, in columns of PostgreSQL's types.
"""

from __future__ import annotations

import ipaddress
import json
import os
import pwd
import re
import shutil
import subprocess
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

# The beginning of a command that runs psql against a cluster.
Connect = Callable[[dict[str, Any]], list[str]]

CONFIGURATIONS = Path("/etc/postgresql")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Seconds for one answer, whatever holds it up; the server gives up after its own timeouts.
DEADLINE = 20
SESSION = (
    "search_path=pg_catalog",
    "default_transaction_read_only=on",
    "statement_timeout=5s",
    "lock_timeout=5s",
    "lc_messages=C",
)
ENVIRONMENT = {
    "PATH": PATH,
    "LC_ALL": "C",
    "PGAPPNAME": "autobot survey",
    "PGCLIENTENCODING": "UTF8",
    "PGCONNECT_TIMEOUT": "5",
    "PGOPTIONS": " ".join(f"-c {setting}" for setting in SESSION),
}
FAULT = re.compile(r"\b(error|fatal):", re.IGNORECASE)
PSQL = ["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align", "--command"]

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

OPERATIONAL = "slm_operational"
MANAGED = "user_management"
UNKNOWN = "unknown"
VERSION_TABLE = "user_management_version"
TABLES = {
    OPERATIONAL: ("users",),
    MANAGED: (
        "api_keys",
        "audit_logs",
        "organizations",
        "permissions",
        "role_permissions",
        "roles",
        "sso_providers",
        "team_memberships",
        "teams",
        "user_mfa",
        "user_roles",
        "user_sso_links",
        "users",
    ),
}
_TEXT = ("character varying", "text")
_TIME = ("timestamp with time zone", "timestamp without time zone")
_NUMBER = ("integer", "bigint")
_FLAG = ("boolean",)
_UUID = ("uuid",)
# What an import reads of the table users, and of which types it may be.
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    OPERATIONAL: {
        "id": _NUMBER,
        "username": _TEXT,
        "password_hash": _TEXT,
        "is_active": _FLAG,
        "is_admin": _FLAG,
        "created_at": _TIME,
        "last_login": _TIME,
    },
    MANAGED: {
        "id": _UUID,
        "org_id": _UUID,
        "email": _TEXT,
        "username": _TEXT,
        "password_hash": _TEXT,
        "display_name": _TEXT,
        "avatar_url": _TEXT,
        "bio": _TEXT,
        "is_active": _FLAG,
        "is_verified": _FLAG,
        "mfa_enabled": _FLAG,
        "is_platform_admin": _FLAG,
        "preferences": ("jsonb",),
        "last_login_at": _TIME,
        "email_verified_at": _TIME,
        "deleted_at": _TIME,
        "created_at": _TIME,
    },
}
# What tells AutoBot's tables from those of others.
MARKS = {
    OPERATIONAL: {"username", "password_hash", "is_admin"},
    MANAGED: {"username", "email", "is_platform_admin"},
}

TABLES_QUERY = f"""
SELECT coalesce(json_object_agg(relname, json_build_object('kind', relkind,
'owner', pg_get_userbyid(relowner), 'columns', (
  SELECT coalesce(json_object_agg(attname, format_type(atttypid, NULL)), '{{}}')
  FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped))), '{{}}')
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'public' AND relkind IN ('r', 'p', 'v', 'm', 'f')
AND relname IN ({", ".join(f"'{table}'" for table in (*TABLES[MANAGED], VERSION_TABLE))})
"""  # noqa: S608  constants
HASH_FORM = """
CASE WHEN coalesce(password_hash, '') = '' THEN 'none'
WHEN password_hash COLLATE "C" ~ '^(bcrypt-sha384[$])?[$]2[aby][$]' THEN 'bcrypt'
WHEN password_hash COLLATE "C" ~ '^[$]?argon2' THEN 'argon2'
WHEN password_hash COLLATE "C" ~ '^[$]?scrypt[$:]' THEN 'scrypt'
WHEN password_hash COLLATE "C" ~ '^[$]?pbkdf2[-_:$]' THEN 'pbkdf2'
ELSE 'unknown' END
"""
# More are not compared, because all names are in memory at once.
COMPARED_USERS = 200_000
SHOWN_PROBLEMS = 100

USERNAME = re.compile(r"[a-zA-Z0-9_]{3,100}")
USERNAME_LENGTH = 100
EMAIL_LENGTH = 255
_LOCAL_PART = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
ADDRESS = re.compile(rf"{_LOCAL_PART}(\.{_LOCAL_PART})*@{_LABEL}(\.{_LABEL})*")
# AutoBot makes up an address with it for whoever has none.
MADE_UP_DOMAIN = "autobot.local"
# Letters, marks and signs that RFC 8264 forbids or of which nothing is seen: fillers, and what
# stretches, repeats or varies other characters.
UNSEEN = (
    "\u034f\u0640\u07fa\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u302e\u302f"
    "\u3031-\u3035\u303b\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
)
# Of Korean syllables, which no name can hold and the mapping leaves.
PARTS_OF_SYLLABLES = "\u1100-\u115e\u1161-\u11ff\ua960-\ua97c\ud7b0-\ud7c6\ud7cb-\ud7fb"
UNMAPPED = re.compile(f"[{UNSEEN}]")
FORBIDDEN = re.compile(f"[{UNSEEN}{PARTS_OF_SYLLABLES}]")

REFUSED = "An import would refuse it."
OUTSIDE = (
    "Its name is outside AutoBot's own rule (3 to 100 letters, digits and underscores). An import "
    "would take it, as {word}."
)
ONE_OF_THEM = "An import would take only one of them."
ONE_PERSON = "An import would take both for one person."


class AnswerError(Exception):
    """A program or a server does not answer, or refuses. The message is what it says."""


def as_owner(cluster: dict[str, Any]) -> list[str]:
    """psql as the cluster's owner, at the cluster's own socket. Raises AnswerError."""
    try:
        group = pwd.getpwnam(cluster["owner"]).pw_gid
    except KeyError:
        raise AnswerError(f"There is no user {cluster['owner']}.") from None
    # It becomes psql, as runuser does not: what is ended at the deadline is psql itself.
    identity = [f"--reuid={cluster['owner']}", f"--regid={group}", "--init-groups"]
    return ["setpriv", *identity, "psql", "--cluster", _label(cluster)]


def clusters(connect: Connect = as_owner) -> list[dict[str, Any]]:
    """The clusters of this host, as the survey has them; none without Debian's pg_lsclusters.

    What cannot be read of a cluster is said in its `error`; `ssl` and `checksums` are None where
    they are not known. Where no cluster can be listed there is one without a name that says why.
    """
    if shutil.which("pg_lsclusters", path=PATH) is None:
        return []
    try:
        found = listed(_run(["pg_lsclusters", "--no-header"], {"PATH": PATH, "LC_ALL": "C"}))
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
            said = _ask(connect, cluster, "postgres", CLUSTER_QUERY)
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


def stores(found: Iterable[dict[str, Any]], connect: Connect = as_owner) -> list[dict[str, Any]]:
    """AutoBot's users in the databases of `clusters`.

    Beside what the survey asks for each has `population`, "slm" or "autobot", and `missing`: what
    it lacks of upstream's schema. `users` and `teams` are None where they cannot be read. A
    database that refuses is one of kind "unknown", with what PostgreSQL says as its problem.
    """
    made: list[dict[str, Any]] = []
    people: list[Person] = []
    for cluster in found:
        if not cluster["running"]:
            continue
        for database in cluster["databases"]:
            store = _empty_store(cluster, database["name"])
            try:
                tables = _ask(connect, cluster, store["database"], TABLES_QUERY)
                if not _recognized(store, tables):
                    continue
                said = _ask(connect, cluster, store["database"], _users_query(store, tables))
            except AnswerError as error:
                store["problems"].append({"user": "", "reason": str(error)})
            else:
                rows = said.pop("people")
                store.update(said)
                people += _people(rows, len(made), store)
            made.append(store)
    _judge(made, people)
    return made


class Person(NamedTuple):
    """A user of the store with this number; `email`, in lower case, is None for one without, or
    with one that was made up.
    """

    store: int
    id: Any
    name: str
    word: str
    email: str | None


def comparable(name: str) -> str:
    """What is the same for two names that people cannot tell apart."""
    # Twice: the mapping can leave what a further one changes.
    for _ in range(2):
        name = UNMAPPED.sub("", " ".join(unicodedata.normalize("NFC", name).split()))
        name = unicodedata.normalize("NFKC", name.casefold())
    return name


def refusal(name: str, email: str | None) -> str:
    """Why an import would not take a user with this name and address; "" when it would.

    The rule of the import, without its libraries; an address with an internationalised domain is
    left to them.
    """
    name, email = unicodedata.normalize("NFC", name.strip()), (email or "").strip()
    word = comparable(name)
    if not name:
        return "It has no name."
    if max(len(name), len(name.lower()), len(word)) > USERNAME_LENGTH:
        return f"Its name has more than {USERNAME_LENGTH} characters."
    if _is_unseen(name) or " " in word or not word.isprintable():
        return "Its name holds white space or characters that people cannot see or tell apart."
    if email and not _is_address(email):
        return "Its e-mail address is not of the form name@domain."
    if "@" in word and word != (email.lower() or word):
        return "Its name holds an @ and is not its e-mail address."
    if "@" in word and not _is_address(word):
        return "Its name holds an @ and is no e-mail address."
    return ""


def _is_unseen(name: str) -> bool:
    """Whether something in a name cannot be seen; a mark needs a letter to stand on."""
    return (
        not name.isprintable()
        or " " in name
        or FORBIDDEN.search(name) is not None
        or unicodedata.category(name[0]).startswith("M")
    )


def _is_address(text: str) -> bool:
    local, _, domain = text.rpartition("@")
    if not domain.isascii():
        domain = "internationalised"
    return len(text) <= EMAIL_LENGTH and ADDRESS.fullmatch(f"{local}@{domain}") is not None


def _run(command: list[str], environment: dict[str, str]) -> str:
    """What a program prints. Raises AnswerError."""
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are this module's own
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AnswerError(f"There was no answer within {DEADLINE} seconds.") from None
    except OSError as error:
        raise AnswerError(str(error)) from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines()]
        # After the line that says what is wrong come hints and pieces of the statement.
        faults = [line for line in said if FAULT.search(line)]
        ended = f"{command[0]} ended with {done.returncode}."
        raise AnswerError(faults[0] if faults else next(filter(None, reversed(said)), ended))
    return done.stdout.decode("utf-8", "replace")


def _ask(connect: Connect, cluster: dict[str, Any], database: str, query: str) -> Any:
    """The JSON document that a query returns. Raises AnswerError."""
    # As an argument a name such as host=elsewhere would be taken for more than a name.
    environment = {**ENVIRONMENT, "PGDATABASE": database}
    answer = _run([*connect(cluster), *PSQL, query], environment)
    try:
        return json.loads(answer)
    except ValueError:
        raise AnswerError("The answer is not JSON.") from None


def _label(cluster: dict[str, Any]) -> str:
    return f"{cluster['version']}/{cluster['name']}"


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


def _empty_store(cluster: dict[str, Any], database: str) -> dict[str, Any]:
    return {
        "kind": UNKNOWN,
        # Upstream has one database of each schema for those who run the fleet.
        "population": "slm" if database.startswith("slm") else "autobot",
        "cluster": _label(cluster),
        "database": database,
        "users": None,
        "teams": None,
        "hash_forms": {},
        "schema": "partial",
        "owners": [],
        "missing": [],
        "problems": [],
    }


def _recognized(store: dict[str, Any], tables: dict[str, Any]) -> bool:
    """Whether a database holds AutoBot's users; the store then says of which kind, and whether
    all is there. Raises AnswerError when its users are not in a table.
    """
    users = tables.get("users", {"kind": "", "columns": {}})
    for kind, marks in MARKS.items():
        if users["columns"].get("id") in COLUMNS[kind]["id"] and marks <= users["columns"].keys():
            store["kind"] = kind
            break
    else:
        return False
    if store["kind"] == OPERATIONAL:
        store["population"] = "slm"
    if users["kind"] != "r":
        raise AnswerError("public.users is not a plain table, so it is not read.")
    store["missing"] = [name for name in TABLES[store["kind"]] if name not in tables]
    owners = {tables[name]["owner"] for name in TABLES[store["kind"]] if name in tables}
    store["owners"] = sorted(owners)
    for column, types in COLUMNS[store["kind"]].items():
        found = users["columns"].get(column)
        if found not in types:
            it_is = "" if found is None else f" (it is {found})"
            store["missing"].append(f"users.{column}{it_is}")
    if VERSION_TABLE in tables:
        store["schema"] = "ours"
    elif not store["missing"]:
        store["schema"] = "upstream"
    return True


def _users_query(store: dict[str, Any], tables: dict[str, Any]) -> str:
    """What to ask a store: how many there are, and their names. Of hashes only the form is read."""
    types = COLUMNS[store["kind"]]
    columns = tables["users"]["columns"]
    usable = {name for name, found in columns.items() if found in types.get(name, ())}
    email = "email" if "email" in usable else "NULL"
    form = HASH_FORM if "password_hash" in usable else "'unknown'"
    living = "deleted_at IS NULL" if "deleted_at" in usable else "true"
    teams = "0"
    if store["kind"] == MANAGED and tables.get("teams", {}).get("kind") == "r":
        theirs = "deleted_at IS NULL" if "deleted_at" in tables["teams"]["columns"] else "true"
        teams = f"(SELECT count(*) FROM ONLY public.teams WHERE {theirs})"  # noqa: S608
    people = "'[]'::json"
    if "username" in usable:
        people = f"""(
          SELECT coalesce(json_agg(json_build_array(id, coalesce(username, ''), email)), '[]')
          FROM (SELECT id, username, email FROM living ORDER BY username COLLATE "C"
                LIMIT {COMPARED_USERS + 1}) AS person)"""  # noqa: S608
    return f"""
    WITH living AS (
      SELECT id, {"username" if "username" in usable else "NULL"} AS username, {email} AS email,
             {form} AS form
      FROM ONLY public.users WHERE {living})
    SELECT json_build_object(
      'users', (SELECT count(*) FROM living),
      'teams', {teams},
      'hash_forms', (
        SELECT coalesce(json_object_agg(form, number), '{{}}')
        FROM (SELECT form, count(*) AS number FROM living GROUP BY form) AS forms),
      'people', {people})
    """  # noqa: S608  names of columns


def _people(rows: list[list[Any]], number: int, store: dict[str, Any]) -> list[Person]:
    """The users of a store, if they are not too many to compare."""
    if len(rows) > COMPARED_USERS:
        reason = (
            f"Names are not compared, because there are more than {COMPARED_USERS}: a dry run of "
            "the import does it."
        )
        store["problems"].append({"user": "", "reason": reason})
        return []
    found = []
    for identity, name, address in rows:
        word, email = comparable(name), (address or "").strip().lower()
        is_made_up = email == f"{word}@{MADE_UP_DOMAIN}"
        found.append(Person(number, identity, name, word, None if is_made_up else email or None))
    return found


def _judge(made: list[dict[str, Any]], people: list[Person]) -> None:
    """Put into each store what an import would stumble over, the worst first."""
    by_word: defaultdict[tuple[str, str], list[Person]] = defaultdict(list)
    for person in people:
        for word in {person.word, person.email or person.word}:
            by_word[made[person.store]["population"], word].append(person)
    refused: defaultdict[int, list[dict[str, str]]] = defaultdict(list)
    clashing: defaultdict[int, list[dict[str, str]]] = defaultdict(list)
    strange: defaultdict[int, list[dict[str, str]]] = defaultdict(list)
    for person in people:
        if reason := refusal(person.name, person.email):
            refused[person.store].append({"user": person.name, "reason": f"{reason} {REFUSED}"})
        elif not USERNAME.fullmatch(person.name):
            reason = OUTSIDE.format(word=person.word)
            strange[person.store].append({"user": person.name, "reason": reason})
        for reason in _clashes(person, by_word, made):
            clashing[person.store].append({"user": person.name, "reason": reason})
    for number, store in enumerate(made):
        problems = [*store["problems"], *refused[number], *clashing[number], *strange[number]]
        if len(problems) > SHOWN_PROBLEMS:
            more = f"There are {len(problems) - SHOWN_PROBLEMS} more."
            problems = [*problems[:SHOWN_PROBLEMS], {"user": "", "reason": more}]
        store["problems"] = problems


def _clashes(
    person: Person,
    by_word: dict[tuple[str, str], list[Person]],
    made: list[dict[str, Any]],
) -> list[str]:
    """Of each name or address of a user, why it is also somebody else's, if it is."""
    population = made[person.store]["population"]
    reasons: dict[str, None] = {}
    for word in (person.word, person.email or person.word):
        for other in by_word[population, word]:
            if other is not person and (reason := _clash(person, other, made)):
                reasons[reason] = None
                break
    return list(reasons)


def _clash(one: Person, other: Person, made: list[dict[str, Any]]) -> str:
    """What an import would do with two who share a name or an address; "" for one person."""
    store = made[other.store]
    is_inside = one.store == other.store
    them = other.name if is_inside else f"{other.name} in {store['cluster']} {store['database']}"
    if not is_inside and isinstance(one.id, str) and one.id == other.id:
        return ""
    if one.word != other.word and one.email != other.email:
        return f"It has a name that is the address of {them}, or the reverse. {ONE_OF_THEM}"
    if is_inside:
        what = "Its name" if one.word == other.word else "Its e-mail address"
        return f"{what} is, but for case and the like, that of {them}, too. {ONE_OF_THEM}"
    if one.word != other.word:
        return f"It has the e-mail address of {them}. {ONE_PERSON}"
    if one.email is not None and other.email is not None:
        different = f"It has the name of {them}, and another e-mail address. {ONE_PERSON}"
        return different if one.email != other.email else ""
    # Whoever came here by an import has the name that they had.
    if "ours" in (made[one.store]["schema"], store["schema"]):
        return ""
    return f"It has the name of {them}; whether they are one person is not said. {ONE_PERSON}"
