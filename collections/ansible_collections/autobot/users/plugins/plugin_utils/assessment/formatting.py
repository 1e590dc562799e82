"""Text and addresses of a host, as they can be shown, written and compared."""

from __future__ import annotations

import ipaddress
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
WIDTH: Final = 100
# What a message shows of a file is indented.
YAML_WIDTH: Final = WIDTH - 8
# What an unquoted scalar may be in YAML, in a list between brackets too.
PLAIN: Final = re.compile(r"[A-Za-z_]([\w .-]*\w)?|\d+(\.\d+){3}(/\d+)?", re.ASCII)
YAML_WORDS: Final = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])


def shown(text: object) -> str:
    """Text of a host, on one line, with what cannot be seen written out."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def word(text: str) -> str:
    """A name of a host that may stand in a rule of nftables, whose comments are short."""
    return re.sub(r"[^A-Za-z0-9._@:+-]", "?", text)[:60]


def markdown(text: object) -> str:
    """Text that Markdown shows as it is, in a cell of a table too."""
    return re.sub(r"([\\`*_{}\[\]<>()#!|~&])", r"\\\1", shown(text))


def address_of(text: str) -> Address | None:
    """An address as the kernel writes it, without its interface; None if it is none."""
    try:
        address = ipaddress.ip_address(text.split("%", maxsplit=1)[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def network_of(text: str) -> Network | None:
    """A network, or an address as one; None if it is neither."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def within(text: str, sources: Iterable[str]) -> bool:
    """Whether one of the sources holds the address or network; "any" holds all."""
    inner = network_of(str(address_of(text) or text))
    for source in sources:
        outer = network_of(source)
        if source == "any" or (
            inner is not None
            and outer is not None
            and inner.version == outer.version
            and inner.subnet_of(outer)  # type: ignore[arg-type]
        ):
            return True
    return False


def overlaps(text: str, source: str) -> bool:
    """Whether a network has an address in common with a source."""
    return within(text, [source]) or within(source, [text])


def is_loopback(address: str) -> bool:
    found = address_of(address)
    return found is not None and found.is_loopback


def is_any(address: str) -> bool:
    found = address_of(address)
    return address == "*" or (found is not None and found.is_unspecified)


def in_order(addresses: Iterable[str]) -> list[str]:
    """Addresses, each once and as it is usually written, in their order."""
    found = {address for text in addresses if (address := address_of(text))}
    return [str(address) for address in sorted(found, key=lambda it: (it.version, int(it)))]


def bare(network: str) -> str:
    """An address without the length of a network that is only that address."""
    return re.sub(r"(?<=\d)/32$|/128$", "", network)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(words: Sequence[str], most: int = 8) -> str:
    """Words with commas; of many the first, and how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def scalar(value: object) -> str:
    """A value as YAML has it between brackets."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in YAML_WORDS:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(it if it.isprintable() else f"\\U{ord(it):08x}" for it in escaped) + '"'


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(it)}" for key, it in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def item(value: Any) -> list[str]:
    """A value as an item of a list; each key has a line where one would be too long."""
    line = f"  - {flow(value)}"
    if not isinstance(value, Mapping) or ("ports" not in value and len(line) <= YAML_WIDTH):
        return [line]
    lines: list[str] = []
    for key, inner in value.items():
        line = f"    {scalar(key)}: {flow(inner)}"
        if isinstance(inner, list) and len(line) > YAML_WIDTH:
            lines += [f"    {scalar(key)}:", *(f"      - {flow(it)}" for it in inner)]
        else:
            lines.append(line)
    return ["  - " + lines[0].removeprefix("    "), *lines[1:]]


def mapping(value: Mapping[str, Any]) -> list[str]:
    """A value as the lines below a variable, a key each; of a list of mappings, an item each."""
    lines = []
    for key, inner in value.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], Mapping):
            lines += [f"  {scalar(key)}:", *(f"  {it}" for each in inner for it in item(each))]
        else:
            lines.append(f"  {scalar(key)}: {flow(inner)}")
    return lines


def comment(text: str) -> list[str]:
    return textwrap.wrap(shown(text), YAML_WIDTH, initial_indent="  # ", subsequent_indent="  # ")
