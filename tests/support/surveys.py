"""Hosts as the survey finds them: new, deployed, and lived in as AutoBot leaves them."""

from typing import Any

from ansible_collections.autobot.users.plugins.plugin_utils.assessment import HbaLine, Host

SUBNET = "172.16.168.0/24"
SLM, BACKEND, REDIS = "172.16.168.19", "172.16.168.20", "172.16.168.23"
DEBIAN = ("Debian", "13", "3.13.5")
JAMMY = ("Ubuntu", "22.04", "3.10.12")
POLICY = {
    **{"family": "inet", "table": "autobot", "policy": "drop", "rules": 12},
    **{"closed": ["input"], "opened": []},
}
OLD_SITES = {
    "slm": "/etc/nginx/sites-enabled/autobot-slm",
    "auth": "/etc/nginx/sites-enabled/autobot-backend",
}
# What Debian's packages bring, and what AutoBot's role adds for the fleet's subnet.
PACKAGED_HBA = [
    ("local", "all", "postgres", None, "peer"),
    ("local", "all", "all", None, "peer"),
    ("host", "all", "all", "127.0.0.1/32", "scram-sha-256"),
    ("host", "all", "all", "::1/128", "scram-sha-256"),
]
UPSTREAM_HBA = [*PACKAGED_HBA, ("host", "slm_users", "slm_app", SUBNET, "scram-sha-256")]


def listener(
    port: int,
    program: str,
    *clients: str,
    address: str = "0.0.0.0",  # noqa: S104 - what the kernel says
    unit: str | None = None,
    protocol: str = "tcp",
) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "address": address,
        "port": port,
        "program": program,
        "unit": f"{program}.service" if unit is None else unit,
        "user": "root",
        "clients": [{"address": client, "connections": 3} for client in clients],
    }


def server(
    file: str, *ports: int, names: tuple[str, ...] = ("_",), upstream: str = "http://127.0.0.1:8000"
) -> dict[str, Any]:
    """A server of nginx."""
    return {
        "file": file,
        "listens": [
            {"address": "*", "port": port, "tls": port not in (80, 8000), "http2": False}
            for port in ports
        ],
        "names": list(names),
        "root": "/var/www/html",
        "locations": [
            {
                "path": "/",
                "upstream": upstream,
                "websocket": False,
                "body": "1m",
                "read_timeout": "",
            },
        ],
    }


def cluster(
    version: str,
    databases: dict[str, str],
    clients: list[tuple[str, str, str]],
    hba: list[tuple[str, str, str, str | None, str]],
    **changes: Any,
) -> dict[str, Any]:
    """A cluster; `databases` by owner, `clients` as address, role and database."""
    place = f"/etc/postgresql/{version}/main"
    return {
        "version": version,
        "name": "main",
        "port": 5432,
        "running": True,
        "owner": "postgres",
        "data_directory": f"/var/lib/postgresql/{version}/main",
        "config_file": f"{place}/postgresql.conf",
        "hba_file": f"{place}/pg_hba.conf",
        "listen_addresses": "*",
        "ssl": True,
        "checksums": True,
        "include_dir": True,
        "later": {},
        "databases": [
            {
                "name": name,
                "owner": owner,
                "size_bytes": 8 * 2**20,
                "encoding": "UTF8",
                "collate": "en_US.UTF-8",
                "ctype": "en_US.UTF-8",
            }
            for name, owner in databases.items()
        ],
        "roles": [{"name": owner, "login": True, "superuser": False} for owner in databases],
        "hba": [
            {
                "line": number,
                "type": kind,
                "databases": [database],
                "roles": [role],
                "address": address,
                "method": method,
                "text": f"{kind}  {database}  {role}  {address or ''}  {method}",
            }
            for number, (kind, database, role, address, method) in enumerate(hba, 95)
        ],
        "hba_errors": [],
        "clients": [
            {
                "address": address,
                "role": role,
                "database": database,
                "tls": bool(address),
                "connections": 5,
            }
            for address, role, database in clients
        ],
        "error": "",
        **changes,
    }


def survey(system: tuple[str, str, str] = DEBIAN, **found: Any) -> dict[str, Any]:
    """What the survey says of a host with nothing but SSH, and what was found besides."""
    distribution, version, python = system
    return {
        "system": {
            "distribution": distribution,
            "version": version,
            "codename": "",
            "kernel": "6.1.0",
            "architecture": "x86_64",
            "python": python,
            "wsl": False,
            "container": "",
            "locales": ["C.utf8"],
            "timezone": "Europe/Riga",
            "clock_synchronized": True,
            "time": 1795980000.12,
        },
        "disks": [{"path": "/", "free_bytes": 2**34, "size_bytes": 2**35}],
        "directories": found.pop("directories", []),
        "secrets_files": [],
        "programs": found.pop("programs", []),
        "units": [],
        "listeners": [
            listener(22, "sshd", "172.16.168.1", unit="ssh.service"),
            listener(22, "sshd", address="::", unit="ssh.service"),
            *found.pop("listeners", []),
        ],
        "outgoing": [],
        "firewalls": {
            "ufw": {"active": False, "incoming": "deny", "rules": []},
            "nftables": [],
            "closed_chains": [],
            "iptables": {"policy": "ACCEPT", "rules": 0},
            "firewalld": False,
            **found.pop("firewalls", {}),
        },
        "web": {"present": False, "running": False, "error": "", "servers": []}
        | found.pop("web", {}),
        "postgresql": found.pop("postgresql", []),
        "stores": found.pop("stores", []),
        "ours": found.pop("ours", {"slm-server": "", "auth": ""}),
        "unreadable": found.pop("unreadable", []),
        **found,
    }


def directory(path: str, owner: str = "root", mode: str = "0755") -> dict[str, str]:
    return {"path": path, "owner": owner, "group": owner, "mode": mode}


def ufw(*rules: tuple[str, str], protocol: str = "tcp") -> dict[str, Any]:
    """ufw that lets in nothing but ports from sources."""
    return {
        "ufw": {
            "active": True,
            "incoming": "deny",
            "rules": [
                {
                    "action": "allow",
                    "ports": [port],
                    "protocol": protocol,
                    "source": source,
                    "destination": "any",
                    "interface": "",
                    "comment": "",
                }
                for port, source in rules
            ],
        }
    }


def store(database: str, users: int, schema: str = "upstream") -> dict[str, Any]:
    return {
        "kind": "user_management",
        "population": "slm" if database.startswith("slm") else "autobot",
        "cluster": "16/main",
        "database": database,
        "users": users,
        "teams": 1,
        "hash_forms": {"bcrypt": users},
        "problems": [],
        "schema": schema,
        "owners": [],
    }


def wanted(name: str, found: dict[str, Any], **changes: Any) -> Host:
    """A host as `inventory/site.yml` and `playbooks/group_vars` want it, and as it was found."""
    repository = {
        "ports": [22],
        "sources": [SLM if name == "redis" else REDIS],
        "comment": "backups of another database",
    }
    web = {"sources": [SUBNET], "comment": "AutoBot's API"}
    nginx = {"unit": "nginx.service", "comment": "the API", "addresses": []}
    database_port = {"port": 5432, "unit": "PostgreSQL", "comment": "its database"}
    by_name: dict[str, dict[str, Any]] = {
        "slm": {
            "address": SLM,
            "services": [{"ports": [443], **web}, {"ports": [80, 8000], **web}, repository],
            "ports": [
                *({"port": port, **nginx} for port in (443, 80, 8000)),
                {**database_port, "addresses": ["127.0.0.1"]},
            ],
            "postgresql": database_wanted(
                "slm_users", "slm_admin", {"slm_admin": "127.0.0.1", "slm_service": "127.0.0.1"}
            ),
        },
        "redis": {
            "address": REDIS,
            "services": [
                {"ports": [5432], "sources": [SLM, BACKEND], "comment": "PostgreSQL"},
                repository,
            ],
            "ports": [{**database_port, "addresses": ["127.0.0.1", REDIS]}],
            "postgresql": database_wanted(
                "autobot_users",
                "autobot_user_admin",
                {"autobot_user_admin": SLM, "slm_service": SLM, "autobot_backend": BACKEND},
                REDIS,
            ),
        },
        "backend": {
            "address": BACKEND,
            "services": [{"ports": [8443], **web}],
            "ports": [{"port": 8443, **nginx}],
            "postgresql": None,
        },
    }
    described: dict[str, Any] = {
        "name": name,
        "networks": [SUBNET],
        "firewall_mode": "own",
        "ssh_sources": [SUBNET],
        "allow": [],
        "directories": ["/etc/autobot-users", "/opt/autobot-users"],
        "replaced_sites": [],
        "names": {
            SLM: "slm.autobot.internal",
            REDIS: "redis.autobot.internal",
            BACKEND: "backend.autobot.internal",
        },
        "manager": SLM,
        "as_written": {},
        "survey": found,
        **by_name[name],
        **changes,
    }
    return Host(**described)


def database_wanted(
    database: str, owner: str, roles: dict[str, str], *addresses: str, version: str = "17"
) -> dict[str, Any]:
    hba: list[HbaLine] = [
        {"database": database, "role": role, "addresses": [address]}
        for role, address in roles.items()
    ]
    return {
        "version": version,
        "owners": {database: owner},
        "adopt_from": "",
        "hba": hba,
        "listen_addresses": ["127.0.0.1", *addresses],
    }


def empty_site() -> list[Host]:
    """Three hosts with a fresh system."""
    return [wanted(name, survey()) for name in ("slm", "redis", "backend")]


def deployed_site() -> list[Host]:
    """Three hosts as a run leaves them, with a node exporter that the firewall keeps shut."""
    directories = [directory("/etc/autobot-users"), directory("/opt/autobot-users")]
    firewalls = {"nftables": [POLICY]}
    exporter = listener(9100, "node_exporter", address="::")
    hosts = []
    for name, file, ports, database, owner, peer in (
        (
            "slm",
            "/etc/nginx/conf.d/autobot-slm.conf",
            (80, 8000, 443),
            "slm_users",
            "slm_admin",
            "",
        ),
        ("redis", "", (), "autobot_users", "autobot_user_admin", REDIS),
        ("backend", "/etc/nginx/conf.d/autobot-auth.conf", (8443,), "", "", ""),
    ):
        listeners = [exporter, *(listener(port, "nginx", "172.16.168.77") for port in ports)]
        found: dict[str, Any] = {"ours": {"slm-server": "1.0.0", "auth": "1.0.0"}}
        if ports:
            servers = [server(file, port) for port in ports]
            # Somebody's own, by its name, beside the site.
            servers.append(server("/etc/nginx/sites-enabled/wiki", ports[-1], names=("wiki",)))
            found["web"] = {"present": True, "running": True, "servers": servers}
        if database:
            unit = "postgresql@17-main.service"
            listeners += [
                listener(5432, "postgres", address=address, unit=unit)
                for address in ("127.0.0.1", peer)
                if address
            ]
            clients = [("", "postgres", "postgres")]
            clients += [(SLM if peer else "127.0.0.1", "slm_service", database)]
            found["postgresql"] = [cluster("17", {database: owner}, clients, [])]
            found["stores"] = [{**store(database, 5, "ours"), "cluster": "17/main"}]
        hosts.append(
            wanted(
                name,
                survey(directories=directories, firewalls=firewalls, listeners=listeners, **found),
            )
        )
    return hosts


def lived_in_slm() -> Host:
    """AutoBot's fleet manager, its database and its monitoring on one host, behind ufw."""
    postgres = "postgresql@16-main.service"
    return wanted(
        "slm",
        survey(
            JAMMY,
            directories=[
                directory("/etc/autobot", "autobot", "0750"),
                directory("/opt/autobot", "autobot"),
            ],
            listeners=[
                listener(80, "nginx"),
                listener(443, "nginx", "172.16.168.77", BACKEND),
                listener(8000, "uvicorn", address="127.0.0.1", unit="autobot-slm-backend.service"),
                listener(3000, "grafana", unit="grafana-server.service"),
                listener(9090, "prometheus", "172.16.168.30", address="::"),
                listener(5432, "postgres", BACKEND, unit=postgres),
                listener(5432, "postgres", address="::", unit=postgres),
                # Behind ufw, which has no rule for it.
                listener(111, "rpcbind", unit="rpcbind.socket"),
                listener(111, "rpcbind", unit="rpcbind.socket", protocol="udp"),
            ],
            firewalls=ufw(
                ("22", "172.16.168.1"),
                ("80", SUBNET),
                ("443", SUBNET),
                ("3000", "172.16.168.1"),
                ("9090", "any"),
                ("5432", SUBNET),
            ),
            web={
                "present": True,
                "running": True,
                "servers": [server(OLD_SITES["slm"], 80), server(OLD_SITES["slm"], 443)],
            },
            postgresql=[
                cluster(
                    "16",
                    {"slm": "slm_app", "slm_users": "slm_app", "autobot_users": "slm_app"},
                    [
                        ("127.0.0.1", "slm_app", "slm"),
                        ("127.0.0.1", "slm_app", "slm_users"),
                        (BACKEND, "slm_app", "autobot_users"),
                        ("", "slm_app", "slm"),
                    ],
                    UPSTREAM_HBA,
                    ssl=False,
                    include_dir=False,
                )
            ],
            stores=[store("slm_users", 5), store("autobot_users", 12)],
        ),
    )


def lived_in_redis() -> Host:
    """Redis with its exporter, used by the fleet; no PostgreSQL yet, no firewall."""
    clients = [f"172.16.168.{number}" for number in (25, 20, 21, 22, 24)]
    return wanted(
        "redis",
        survey(
            JAMMY,
            listeners=[
                listener(6379, "redis-server", *clients, unit="redis-stack-server.service"),
                listener(6379, "redis-server", address="::1", unit="redis-stack-server.service"),
                listener(9121, "redis_exporter", address="::"),
                listener(68, "systemd-network", protocol="udp", unit="systemd-networkd.service"),
                listener(5353, "avahi-daemon", protocol="udp"),
                listener(40112, "avahi-daemon", protocol="udp"),
                listener(123, "ntpd", protocol="udp", unit="ntpsec.service"),
                listener(323, "chronyd", protocol="udp", address="127.0.0.1"),
            ],
        ),
    )


def lived_in_backend() -> Host:
    """AutoBot's API behind nginx, a language model and a remote desktop."""
    return wanted(
        "backend",
        survey(
            JAMMY,
            directories=[directory("/opt/autobot", "autobot", "0775")],
            listeners=[
                listener(8443, "nginx", "172.16.168.21"),
                listener(8001, "uvicorn", address="127.0.0.1", unit="autobot-backend.service"),
                listener(11434, "ollama", address="::"),
                listener(6080, "websockify", "::ffff:172.16.168.19", unit="novnc.service"),
            ],
            web={
                "present": True,
                "running": True,
                "servers": [
                    server(OLD_SITES["auth"], 8443),
                    server("/etc/nginx/sites-enabled/default", 80, upstream=""),
                ],
            },
        ),
    )


def lived_in_site() -> list[Host]:
    """The three hosts of AutoBot's documents before the first run."""
    return [lived_in_slm(), lived_in_redis(), lived_in_backend()]
