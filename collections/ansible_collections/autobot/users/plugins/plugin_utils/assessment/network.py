"""Who listens, who comes to them, and which firewall lets them in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Final

from .formatting import (
    bare,
    counted,
    in_order,
    is_loopback,
    listed,
    network_of,
    overlaps,
    shown,
    within,
    word,
)
from .hosts import Conflict, Entry, Host, Rule

SSH: Final = 22
DATABASE_PORT: Final = 5432
# The comment of the rules that the role firewall adds to those of ufw.
OPENING: Final = "autobot-users"
# DHCP: the client's own question opens the way, or a raw socket reads the answer. mDNS and LLMNR:
# names of a neighbourhood, which nothing at a site depends on.
UDP_LEFT_OUT: Final = (68, 546, 5353, 5355)
# Linux gives a socket that sends without having a port one of these.
UDP_EPHEMERAL: Final = range(32768, 61000)
EVERYBODY: Final = "{{ site_networks }}"


def program_of(listener: Mapping[str, Any]) -> str:
    """Who listens, such as `redis-server (redis-server.service)`."""
    program, unit = shown(listener["program"]), shown(listener["unit"])
    if not program:
        return unit or "the kernel or a container"
    return f"{program} ({unit})" if unit and unit != program else program


def clients_of(listener: Mapping[str, Any]) -> list[str]:
    return in_order(client["address"] for client in listener["clients"])


def grouped(listeners: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Listeners that others reach, one for each port: `addresses`, and the clients of all."""
    outside = [it for it in listeners if not is_loopback(it["address"])]
    outside.sort(key=lambda it: (it["port"], it["protocol"]))
    found = []
    for _, group in groupby(outside, key=lambda it: (it["port"], it["protocol"])):
        same = list(group)
        programs = list(dict.fromkeys(map(program_of, same)))
        found.append(
            {
                **same[0],
                "programs": ", ".join(programs),
                "addresses": list(dict.fromkeys(shown(it["address"]) for it in same)),
                "clients": [client for it in same for client in it["clients"]],
            }
        )
    return found


def active_ufw(host: Host) -> dict[str, Any] | None:
    ufw: dict[str, Any] = host.survey["firewalls"].get("ufw") or {}
    return ufw if ufw.get("active") else None


def has_our_firewall(host: Host) -> bool:
    tables = host.survey["firewalls"].get("nftables") or []
    return any((it["family"], it["table"]) == ("inet", "autobot") for it in tables)


def concerns(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    """Whether a rule of ufw is about a port: `6379`, `6000:6007`, or all where it names none."""
    if rule["protocol"] not in ("any", protocol):
        return False
    for text in rule["ports"]:
        first, _, last = str(text).partition(":")
        if first == "any" or (first.isdigit() and int(first) <= port <= int(last or first)):
            return True
    return not rule["ports"]


def ufw_sources(ufw: Mapping[str, Any], port: int, protocol: str) -> list[str]:
    """Whom ufw lets in to a port."""
    if ufw["incoming"] == "allow":
        return ["any"]
    return [
        rule["source"]
        for rule in ufw["rules"]
        if rule["action"] in ("allow", "limit") and concerns(rule, port, protocol)
    ]


def ufw_accepts(ufw: Mapping[str, Any], port: int, source: str) -> bool:
    """Whether ufw lets all of a source in to a TCP port; its first rule that matches decides."""
    for rule in ufw["rules"]:
        if not concerns(rule, port, "tcp"):
            continue
        if rule["action"] in ("allow", "limit"):
            # One for an interface or an address of the host lets in a part of what comes.
            part = rule["interface"] or rule["destination"] != "any"
            if not part and within(source, [rule["source"]]):
                return True
        elif overlaps(source, rule["source"]):
            return False
    return bool(ufw["incoming"] == "allow")


def proposed_sources(
    host: Host, listener: Mapping[str, Any], clients: list[str]
) -> tuple[list[str] | str, str]:
    """From where a port is to be reached, and how that is known."""
    ufw = active_ufw(host)
    allowed = ufw_sources(ufw, listener["port"], listener["protocol"]) if ufw else []
    if "any" in allowed:
        allowed = host.networks
    # Nothing that is no network reaches a file of the inventory.
    networks = [str(it) for text in allowed if (it := network_of(text))]
    strangers = [it for it in clients if not within(it, networks)]
    sources = list(dict.fromkeys([*map(bare, networks), *strangers]))
    if networks:
        return sources, "those whom ufw lets in" + (", and who is connected" if strangers else "")
    if sources:
        return sources, "connected at this moment; who comes later is added here"
    return EVERYBODY, "nobody is connected at this moment: name those who need it"


def listener_conflicts(host: Host) -> list[Conflict]:
    """Listeners that the firewall would close to those who use them, or may tomorrow."""
    if has_our_firewall(host) or host.firewall_mode == "none":
        return []
    additive = host.firewall_mode == "additive"
    found = []
    for listener in grouped(host.survey["listeners"]):
        rules = [rule for rule in host.rules if listener["port"] in rule["ports"]]
        # Additive, it judges the ports of its rules only, and SSH is left to the host.
        if additive and (not rules or listener["port"] == SSH or listener["protocol"] == "udp"):
            continue
        if listener["protocol"] == "udp":
            # A rule is about TCP. One without sources says that the port may be shut.
            if not is_left_out(listener) and not shut(rules) and is_open(host, listener):
                found.append(udp_conflict(host, listener))
            continue
        sources = [source for rule in rules for source in rule["sources"]]
        clients = [it for it in clients_of(listener) if not within(it, sources)]
        kept = bool(rules) or is_our_database(host, listener)
        if shut(rules) or not (clients or (not kept and is_open(host, listener))):
            continue
        found.append(tcp_conflict(host, listener, clients, narrowed=bool(rules)))
    return found


def shut(rules: list[Rule]) -> bool:
    """Whether the inventory says of a port that nobody is to reach it."""
    return any(not rule["sources"] for rule in rules)


def is_open(host: Host, listener: Mapping[str, Any]) -> bool:
    """Whether somebody can reach a listener today, as far as ufw tells."""
    ufw = active_ufw(host)
    return ufw is None or bool(ufw_sources(ufw, listener["port"], listener["protocol"]))


def is_left_out(listener: Mapping[str, Any]) -> bool:
    """Whether a UDP socket is no service, or one that nothing depends on."""
    port = listener["port"]
    return port in UDP_LEFT_OUT or (port in UDP_EPHEMERAL and bool(listener["program"]))


def is_our_database(host: Host, listener: Mapping[str, Any]) -> bool:
    """Whether it is PostgreSQL where the bundle wants it, for others or for its own host."""
    return (
        host.postgresql is not None
        and listener["port"] == DATABASE_PORT
        and listener["program"] == "postgres"
    )


def tcp_conflict(
    host: Host, listener: Mapping[str, Any], clients: list[str], *, narrowed: bool
) -> Conflict:
    port = listener["port"]
    sources, reason = proposed_sources(host, listener, clients)
    # Of a database the lines of pg_hba.conf say the same: as few as need be.
    if narrowed or is_our_database(host, listener):
        sources, reason = clients, "connected at this moment, and let in by no other rule"
    users = f"{listed(clients)} {'is' if len(clients) == 1 else 'are'} connected"
    why = (
        "no rule of the inventory lets them in" if clients else "no rule of the inventory names it"
    )
    unit = listener["unit"] or listener["program"]
    value = {
        "ports": [port],
        "sources": sources,
        "comment": word(unit.removesuffix(".service")) or f"port {port}",
    }
    entry = Entry("firewall_allow", value, f"{listener['programs']}: {reason}")
    return Conflict(
        host.name,
        "listener",
        f"{listener['programs']} listens at TCP port {port}; "
        f"{users if clients else 'nobody is connected at this moment'}.",
        f"The firewall drops what no rule accepts, and {why}.",
        f"Say in firewall_allow who may reach it, or that it may be shut (sources: []): "
        f"host_vars/{host.name}.yml.",
        port,
        (entry,),
    )


def udp_conflict(host: Host, listener: Mapping[str, Any]) -> Conflict:
    port = listener["port"]
    return Conflict(
        host.name,
        "listener",
        f"{listener['programs']} listens at UDP port {port}.",
        "The firewall drops what no rule accepts, and its rules are about TCP: only answers to "
        "what the host has asked come through.",
        f"Move the service elsewhere, or say that the port may be shut: an entry of firewall_allow "
        f"with ports: [{port}] and sources: [] in host_vars/{host.name}.yml.",
        port,
    )


def firewall_conflicts(host: Host) -> list[Conflict]:
    """What keeps shut what the bundle opens: a packet must pass all firewalls of a host."""
    ufw = active_ufw(host)
    found = unopened(host)
    if ufw is None:
        return found
    # Another mode takes the bundle's own rules out of ufw.
    rules = [it for it in ufw["rules"] if it["comment"] != OPENING]
    if host.firewall_mode == "additive":
        # What the role adds comes behind the rules that are there.
        return found + shut_by_ufw(host, {**ufw, "rules": rules, "incoming": "allow"})
    return found + shut_by_ufw(host, {**ufw, "rules": rules})


def shut_by_ufw(host: Host, ufw: Mapping[str, Any]) -> list[Conflict]:
    """Ports that the bundle opens and ufw keeps shut."""
    commands = []
    ports = set()
    for rule in host.services:
        for port in rule["ports"]:
            for source in rule["sources"]:
                if not ufw_accepts(ufw, port, source):
                    ports.add(port)
                    # ufw takes no quotes in a comment.
                    said = re.sub(r"[^\w .,:+-]", "", rule["comment"])
                    commands.append(
                        f"ufw allow from {source} to any port {port} proto tcp comment '{said}'"
                    )
    if not ports:
        return []
    noun = "port" if len(ports) == 1 else "ports"
    what = (
        f"ufw is active and does not let in all that need the {noun} "
        f"{', '.join(map(str, sorted(ports)))}."
    )
    why = "A packet must pass the rules of ufw and of the site: what the site opens stays shut."
    if host.firewall_mode == "own":
        entry = Entry("firewall_mode", "additive", "ufw stays in charge of what is not ours")
        answer = (
            "Let the site open its ports through ufw, which stays in charge of all others: "
            f"host_vars/{host.name}.yml. Or switch ufw off (ufw disable)."
        )
        return [Conflict(host.name, "firewall", what, why, answer, min(ports), (entry,))]
    if host.firewall_mode == "additive":
        answer = "Remove the rules of ufw that deny them (ufw status numbered; ufw delete NUMBER)."
        return [Conflict(host.name, "firewall", what, why, answer, min(ports))]
    answer = f"Run these as root on {host.name}, or switch ufw off (ufw disable)."
    return [
        Conflict(
            *(host.name, "firewall", what, why, answer, min(ports)),
            commands=tuple(dict.fromkeys(commands)),
        )
    ]


def unopened(host: Host) -> list[Conflict]:
    """Firewalls through which the bundle cannot open its ports."""
    if host.firewall_mode != "additive":
        return []
    return [
        Conflict(
            host.name,
            "firewall",
            f"{name} judges what comes in, and firewall_mode is additive.",
            "The site opens its ports through ufw and through chains of nftables only.",
            f"Say firewall_mode: none in host_vars/{host.name}.yml, and open the site's ports in "
            f"{name} yourself; or firewall_mode: own, and switch {name} off.",
        )
        for name in closed_others(host)
    ]


def closed_others(host: Host) -> list[str]:
    """Firewalls that let in only what they name, and are neither ufw nor plain nftables."""
    firewalls = host.survey["firewalls"]
    iptables = firewalls.get("iptables") or {}
    kept = any(
        table["table"] == "filter" and "INPUT" in table["closed"]
        for table in firewalls.get("nftables") or []
    )
    drops = kept or iptables.get("policy", "ACCEPT").upper() != "ACCEPT"
    found = ["firewalld"] if firewalls.get("firewalld") else []
    return [*found, "iptables"] if drops and active_ufw(host) is None else found


def firewall_notes(host: Host) -> list[str]:
    firewalls = host.survey["firewalls"]
    advice = "It may close what the site opens: a packet must pass all of them."
    if host.firewall_mode == "additive":
        advice = (
            "The site's ports are opened through it where it refuses all that it does not name."
        )
    found = []
    if firewalls.get("firewalld"):
        found.append(f"firewalld is active. {advice}")
    # What ufw writes is judged by ufw's own rules.
    ufw = active_ufw(host) is not None
    for table in firewalls.get("nftables") or []:
        name = (table["family"], table["table"])
        if name == ("inet", "autobot") or (ufw and name in (("ip", "filter"), ("ip6", "filter"))):
            continue
        if table["policy"] == "drop" or table["rules"]:
            policy = f", policy {shown(table['policy'])}" if table["policy"] else ""
            found.append(
                f"The table {shown(' '.join(name))} of nftables judges what comes in "
                f"({counted(table['rules'], 'rule')}{policy}). {advice}"
            )
    iptables = firewalls.get("iptables") or {}
    if not ufw and iptables.get("policy", "ACCEPT").upper() != "ACCEPT":
        found.append(f"iptables drops what none of its rules accepts. {advice}")
    return found
