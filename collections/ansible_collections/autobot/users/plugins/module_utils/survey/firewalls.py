"""Which firewalls stand before what listens: ufw, nftables, iptables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .reading import guarded, is_active, output

FAMILIES = ("ip", "ip6", "inet")
EVERYWHERE = ("0.0.0.0/0", "::/0")
# Chains that ufw keeps, and the one that the bundle puts into tables of others.
OPENING = "autobot-users"
KEPT_CHAIN = re.compile(rf"ufw6?-|{OPENING}$")
TUPLE = "### tuple ### "
UFW_POLICIES = {"DROP": "deny", "REJECT": "reject", "ACCEPT": "allow"}
NO_UFW: dict[str, Any] = {"active": False, "incoming": "", "rules": []}


def setting(name: str, text: str) -> str:
    """The value of a variable in a file of shell assignments; empty for none."""
    found = re.search(rf"^{name}=[\"']?([^\"'\s#]*)", text, re.MULTILINE)
    return found[1] if found else ""


def ufw_rules(text: str) -> Iterator[dict[str, Any]]:
    """The rules for incoming traffic in user.rules or user6.rules of ufw, in order."""
    for line in text.splitlines():
        if not line.startswith(TUPLE):
            continue
        rule, _, comment = line[len(TUPLE) :].partition(" comment=")
        # Between source and direction stand the profiles of applications, if it has any.
        action, protocol, ports, destination, _, source, *_, direction = rule.split()
        way, _, interface = direction.partition("_")
        if action.startswith("route:") or way != "in":
            continue
        yield {
            # "allow_log" allows, and logs.
            "action": action.partition("_")[0],
            "ports": [] if ports == "any" else ports.split(","),
            "protocol": protocol,
            "source": "any" if source in EVERYWHERE else source,
            "destination": "any" if destination in EVERYWHERE else destination,
            "interface": interface,
            "comment": bytes.fromhex(comment).decode("utf-8", "replace"),
        }


def read_ufw(etc: Path) -> dict[str, Any]:
    """`ufw` of the survey. Its files are exact, and there without the program too."""
    directory = etc / "ufw"
    if not (directory / "ufw.conf").exists():
        return NO_UFW
    rules: list[dict[str, Any]] = []
    for name in ("user.rules", "user6.rules"):
        path = directory / name
        # A rule for everybody is in both.
        found = ufw_rules(path.read_text() if path.exists() else "")
        rules += [rule for rule in found if rule not in rules]
    policy = setting("DEFAULT_INPUT_POLICY", (etc / "default/ufw").read_text())
    return {
        "active": setting("ENABLED", (directory / "ufw.conf").read_text()).lower() == "yes",
        "incoming": UFW_POLICIES.get(policy.upper(), ""),
        "rules": rules,
    }


def rules_on_way(starts: Iterable[str], rules: list[tuple[str, set[str]]]) -> int:
    """How many rules a packet may meet from these chains on, but for those of KEPT_CHAIN.

    `rules`: the chain that each is in, and the chains that it leads to.
    """
    reached: set[str] = set()
    ahead = set(starts)
    while ahead:
        reached |= ahead
        ahead = {to for chain, targets in rules if chain in reached for to in targets} - reached
    return sum(
        chain in reached and not any(KEPT_CHAIN.match(name) for name in (chain, *targets))
        for chain, targets in rules
    )


def targets_of(expression: Any) -> set[str]:
    """The chains to which a rule of nft leads, its maps included."""
    if isinstance(expression, list):
        return {name for item in expression for name in targets_of(item)}
    if not isinstance(expression, dict):
        return set()
    found = targets_of(list(expression.values()))
    for verb in ("jump", "goto"):
        if isinstance(expression.get(verb), dict):
            found.add(expression[verb]["target"])
    return found


def refuses_all(expression: list[dict[str, Any]]) -> bool:
    """Whether a rule of nft drops or rejects every packet that comes to it."""
    names = [name for part in expression for name in part]
    return bool(names) and names[-1] in ("drop", "reject") and {*names[:-1]} <= {"counter", "log"}


def nft_tables(listing: str) -> list[dict[str, Any]]:
    """`nftables` of the survey, from what `nft --json list ruleset` prints."""
    items = json.loads(listing)["nftables"]
    inputs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    rules: dict[tuple[str, str], list[tuple[str, set[str]]]] = {}
    last: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for item in items:
        if chain := item.get("chain"):
            filters = chain.get("type") == "filter" and chain.get("hook") == "input"
            if filters and chain["family"] in FAMILIES:
                inputs.setdefault((chain["family"], chain["table"]), []).append(chain)
        elif rule := item.get("rule"):
            place = rule["family"], rule["table"]
            rules.setdefault(place, []).append((rule["chain"], targets_of(rule["expr"])))
            last[place + (rule["chain"],)] = rule["expr"]  # noqa: RUF005 - Python 3.9
    return [
        {
            "family": family,
            "table": table,
            "policy": "drop" if any(c.get("policy") == "drop" for c in chains) else "accept",
            "rules": rules_on_way([c["name"] for c in chains], rules.get((family, table), [])),
            # Those that let nothing in but what they name.
            "closed": [
                c["name"]
                for c in chains
                if c.get("policy") == "drop"
                or refuses_all(last.get((family, table, c["name"]), []))
            ],
            "opened": [
                chain for chain, targets in rules.get((family, table), []) if OPENING in targets
            ],
        }
        for (family, table), chains in inputs.items()
    ]


def closed_chains(tables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`closed_chains` of the survey: where others let in only what they name, and whether us.

    Not those of iptables, which has no use for rules that it did not write.
    """
    return [
        {
            "family": table["family"],
            "table": table["table"],
            "chain": chain,
            "opened": chain in table["opened"],
        }
        for table in tables
        if (table["family"], table["table"]) != ("inet", "autobot")
        for chain in dict.fromkeys([*table["closed"], *table["opened"]])
        if (table["table"], chain) != ("filter", "INPUT")
    ]


def iptables_filter(saved: str) -> dict[str, Any]:
    """`iptables` of the survey, from what one iptables-save prints."""
    policy = re.search(r"^:INPUT (\w+)", filter_table(saved), re.MULTILINE)
    rules = [
        (chain, set(re.findall(r" -[jg] (\S+)", rest)))
        for chain, rest in re.findall(r"^-A (\S+)(.*)", filter_table(saved), re.MULTILINE)
    ]
    return {"policy": policy[1] if policy else "ACCEPT", "rules": rules_on_way(["INPUT"], rules)}


def filter_table(saved: str) -> str:
    """The table `filter` of what iptables-save prints."""
    return saved.partition("*filter\n")[2].partition("COMMIT")[0]


def joined(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Several filters of iptables as one."""
    drops = any(one["policy"] == "DROP" for one in found)
    return {"policy": "DROP" if drops else "ACCEPT", "rules": sum(one["rules"] for one in found)}


def read_iptables(unreadable: list[str], *, with_nft: bool) -> dict[str, Any]:
    """`iptables` of the survey; what nft shows too has been said if that was asked."""
    found: list[dict[str, Any]] = []
    for family in ("iptables", "ip6tables"):
        kinds = {}
        for program in (f"{family}-save", f"{family}-legacy-save"):
            saved = guarded(program, partial(output, program), None, unreadable)
            if saved:
                # Both programs may be the legacy one.
                kinds["(nf_tables)" in saved.partition("\n")[0]] = iptables_filter(saved)
        if with_nft:
            kinds.pop(True, None)
        found += kinds.values()
    return joined(found)


def read_firewalls(etc: Path, unreadable: list[str]) -> dict[str, Any]:
    """`firewalls` of the survey."""

    def nft() -> list[dict[str, Any]] | None:
        listing = output("nft", "--json", "--terse", "list", "ruleset")
        return None if listing is None else nft_tables(listing)

    ufw = guarded("ufw", partial(read_ufw, etc), NO_UFW, unreadable)
    tables = guarded("nft", nft, None, unreadable)
    iptables = read_iptables(unreadable, with_nft=tables is not None)
    # What ufw keeps is said once.
    if ufw["active"]:
        tables = [t for t in tables or [] if t["rules"] or t["table"] != "filter"]
        iptables = iptables if iptables["rules"] else joined([])
    return {
        "ufw": ufw,
        "nftables": tables or [],
        "closed_chains": closed_chains(tables or []),
        "iptables": iptables,
        "firewalld": guarded("firewalld", partial(is_active, "firewalld"), False, unreadable),
    }
