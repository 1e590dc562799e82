"""The documents name only what there is: targets, paths, variables, links, commands, messages."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_group

from slm_server.cli import app
from user_management.config import Settings

ROOT = Path(__file__).parents[3]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
ROLE_DOCUMENTS = sorted((ROOT / "roles").glob("*/README.md"))

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]\n]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
ADDRESS = re.compile(
    r"(?:\b([A-Z]+) )?(?<![a-z_])(/(?:api|health|\.well-known)/[\w/{}.-]+)(?![\w/{}.…-])"
)
GAP = re.compile(r"{[^}]*}")

# Made by a run, or by the operator; a checkout has none of them.
MADE = (
    ".lab",
    ".venv",
    "build",
    "inventory/lived_in/host_vars",
    "inventory/production/assessment.",
    "inventory/production/build",
    "inventory/production/ca.crt",
    "inventory/production/elsewhere",
    "inventory/production/host_vars",
    "inventory/production/site.json",
    "inventory/production/vault.yml",
    "inventory/single/host_vars",
    "inventory/single/vault.yml",
)
OTHER_VARIABLES = {
    "CREDENTIALS_DIRECTORY",  # systemd's
    "EXPECTED_REVISION",  # a constant of the code
    "LAB_BACKEND_PORT",  # inventory/lab
    "LAB_DEBIAN",
    "LAB_NAME",
    "LAB_SITE",  # the Makefile
    "LAB_SLM_PORT",
    "SECRET_KEY",  # the plan's, which is read no more
    "UPDATE_PICTURES",  # tests/e2e/test_pictures.py
}
# In docs/handover.md: of AutoBot's own environment files.
AUTOBOTS_VARIABLES = {
    "AUTOBOT_JWT_SECRET",
    "AUTOBOT_USERS_DATABASE_URL",
    "SLM_ADMIN_PASSWORD",
    "SLM_DATABASE_URL",
    "SLM_DB_AUTOBOT_USERS",
    "SLM_DB_SLM_USERS",
    "SLM_ENCRYPTION_KEY",
    "SLM_SECRET_KEY",
    "SLM_USERS_DATABASE_URL",
}
OTHER_ADDRESSES = {
    "/.well-known/change-password",  # nginx's
    "/api/roles",  # AutoBot's
}
# What the example of a message has where a run says something of its own.
SAID = re.compile(
    r"…|'production'|nginx\.service|SLM server|accepted|refused|unreachable|serves|process|ports"
    r"|\d[\d, ]*"
)
OTHER_MESSAGES = {"UNREACHABLE!"}  # Ansible's


def without_fences(text: str) -> str:
    return FENCE.sub("", text)


def commands(text: str) -> Iterator[str]:
    """The lines of the shell examples, and what stands between backticks."""
    for language, body in FENCE.findall(text):
        if language in {"bash", "console", "sh"}:
            yield from body.splitlines()
    yield from CODE.findall(without_fences(text))


def top_level() -> set[str]:
    """What a path of the repository begins with."""
    return {path.name for path in ROOT.iterdir()} - {".git"}


def paths(text: str) -> Iterator[str]:
    """Words that look like paths of the repository, without patterns and gaps to fill."""
    names = top_level()
    for line in commands(text):
        for written in re.split(r"[\s,;=()\"']+", line):
            word = written.partition("::")[0].removeprefix("./").rstrip(":.…")
            if (
                word.partition("/")[0] in names
                and "/" in word
                and not re.search(r"[<>*{}$…]", word)
            ):
                yield word.rstrip("/")


def anchor(heading: str) -> str:
    """What a heading is called in a link."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def each(find: Callable[[str], Iterator[str]]) -> list[tuple[str, str]]:
    """What is found in each document, with the document's name."""
    found = {
        (str(document.relative_to(ROOT)), item)
        for document in DOCUMENTS
        for item in find(document.read_text())
    }
    return sorted(found)


def test_make_targets_exist() -> None:
    def named(text: str) -> Iterator[str]:
        for command in commands(text):
            yield from re.findall(r"\bmake ([a-z]+)\b", command)

    found = each(named)
    assert {name for _, name in found} >= {"up", "down", "test"}
    assert [item for item in found if item[1] not in targets()] == []


def slm_commands(text: str) -> Iterator[str]:
    """What examples let `slm` do, without what the shell adds."""
    for language, body in FENCE.findall(text):
        if language == "sh":
            for line in body.replace("\\\n", " ").splitlines():
                if found := re.match(r"(?:sudo )?slm ([^<>|]+)", line):
                    yield found[1]


def test_commands_of_slm_are_understood() -> None:
    found = each(slm_commands)
    assert len(found) > 5
    for _, line in found:
        group, arguments = get_group(app), shlex.split(line)
        while isinstance(command := group.commands[arguments.pop(0)], TyperGroup):
            group = command
        # Raises UsageError for what the command does not know.
        command.make_context(line, arguments)


def test_paths_exist() -> None:
    found = each(paths)
    assert len(found) > 30
    missing = [
        (document, path)
        for document, path in found
        if not path.startswith(MADE) and not (ROOT / path).exists()
    ]
    assert missing == []


def test_variables_are_settings_of_the_service() -> None:
    def named(text: str) -> Iterator[str]:
        for code in CODE.findall(without_fences(text)):
            yield from VARIABLE.findall(code)

    known = {name.upper() for name in Settings.model_fields}
    found = each(named)
    assert {name for _, name in found} >= {"LAB_DEBIAN", "BCRYPT_COST"}
    others = OTHER_VARIABLES | AUTOBOTS_VARIABLES
    assert [item for item in found if item[1] not in known | others] == []


def test_every_setting_of_the_service_is_documented() -> None:
    text = (ROOT / "docs" / "development.md").read_text()
    assert [name for name in Settings.model_fields if f"`{name.upper()}`" not in text] == []


def test_variables_of_the_lab_are_read_by_it() -> None:
    lab = (ROOT / "inventory/lab/group_vars/all/lab.yml").read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert {name for name in OTHER_VARIABLES if name.startswith("LAB_")} == {
        *re.findall(r"'(LAB_[A-Z_]+)'", lab),
        *re.findall(r"^(LAB_[A-Z_]+) \?=", makefile, re.MULTILINE),
    }


@pytest.mark.parametrize(
    "document",
    [*DOCUMENTS, *ROLE_DOCUMENTS],
    ids=lambda document: str(document.relative_to(ROOT)),
)
def test_links_resolve(document: Path) -> None:
    broken = []
    for link in LINK.findall(without_fences(document.read_text())):
        path, _, fragment = link.partition("#")
        target = document.parent / path if path else document
        is_document = target.suffix == ".md" and target.is_file()
        headings = map(anchor, HEADING.findall(target.read_text())) if is_document else ()
        if not target.exists() or (fragment and fragment not in headings):
            broken.append(link)
    assert broken == []


def test_every_document_is_linked_from_the_readme() -> None:
    links = LINK.findall((ROOT / "README.md").read_text())
    assert [
        name
        for document in DOCUMENTS
        if (name := str(document.relative_to(ROOT))) not in {*links, "README.md"}
    ] == []


def test_variables_of_roles_exist() -> None:
    """What the operator is told to set is an option of a role, or data of the site."""
    specified = "\n".join(
        path.read_text()
        for path in [
            *ROOT.glob("roles/*/meta/argument_specs.yml"),
            *ROOT.glob("inventory/**/*.yml"),
            *ROOT.glob("playbooks/group_vars/*.yml"),
        ]
    )
    names = set(re.findall(r"^ *([a-z][a-z0-9_]+):", specified, re.MULTILINE))
    prefixes = (*(f"{path.name}_" for path in (ROOT / "roles").iterdir()), "site_", "vault_")

    def named(text: str) -> Iterator[str]:
        for code in CODE.findall(without_fences(text)):
            if re.fullmatch(r"[a-z][a-z0-9_]+", code) and code.startswith(prefixes):
                yield code

    found = each(named)
    assert "postgresql_version" in {name for _, name in found}
    secrets = (ROOT / "playbooks/group_vars/all.yml").read_text()
    assert [item for item in found if item[1] not in names and item[1] not in secrets] == []


def test_alembics_next_revision_is_the_one_that_the_guide_adds() -> None:
    revisions = sorted(path.name[:4] for path in (ROOT / "migrations/versions").glob("*.py"))
    guide = (ROOT / "docs" / "development.md").read_text()
    assert f"--rev-id {int(revisions[-1]) + 1:04}" in guide


def test_addresses_of_the_apis_exist() -> None:
    """A method that stands before an address is one that it takes; the beginning of one will do."""
    routes = {
        (method.upper(), GAP.sub("{}", path))
        for name in ("openapi.json", "openapi-backend.json")
        for path, methods in json.loads((ROOT / "docs" / name).read_text())["paths"].items()
        for method in methods
    }

    def unknown(text: str) -> Iterator[str]:
        for command in commands(text):
            for method, found in ADDRESS.findall(command):
                address = GAP.sub("{}", found)
                if not any(
                    (method in ("", takes) and path == address)
                    or (not method and path.startswith(f"{address}/"))
                    for takes, path in routes
                ):
                    yield f"{method} {found}".strip()

    assert [item for item in each(unknown) if item[1] not in OTHER_ADDRESSES] == []


def plays(playbook: Path) -> Iterator[str]:
    """The names of the plays of a playbook and of those that it imports, in their order."""
    for play in yaml.safe_load(playbook.read_text()):
        if imported := play.get("ansible.builtin.import_playbook"):
            yield from plays(playbook.parent / imported)
        else:
            yield play["name"]


def test_the_readme_shows_the_plays_of_a_run() -> None:
    shown = re.findall(r"^PLAY \[(.+)\]", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert shown == [*plays(ROOT / "molecule/default/create.yml"), *plays(ROOT / "site.yml")]


def test_the_keys_of_the_site_file_are_documented() -> None:
    [task] = yaml.safe_load((ROOT / "roles/administrators/tasks/main.yml").read_text())
    guide = (ROOT / "docs" / "operations.md").read_text()
    [table] = re.findall(r"\| key \| meaning \|\n((?:\|.*\n)+)", guide)
    keys = {
        key
        for cell in re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
        for key in CODE.findall(cell)
    }
    assert keys == {*task["autobot.users.first_administrators"]["site"], "slm", "autobot"}


SOURCES = ("collections", "hosts", "migrations", "playbooks", "roles", "scripts")


def test_messages_are_those_that_are_said() -> None:
    sources = (
        "\n".join(
            path.read_text()
            for directory in SOURCES
            for path in (ROOT / directory).rglob("*")
            if path.suffix in {".py", ".yml"}
        )
        + (ROOT / "service/user_management/config.py").read_text()
    )
    # Texts that are put together of several are one.
    code = " ".join(re.sub(r"[\"']\s*\n\s*(?:~ )?f?[\"']", "", sources).split())
    guide = (ROOT / "docs" / "operations.md").read_text().partition("\n## Messages\n")[2]
    messages = [
        message
        for row in re.findall(r"^\| (.+?) \|", guide, re.MULTILINE)
        for message in CODE.findall(row)
        if message not in OTHER_MESSAGES
    ]
    assert len(messages) > 30
    unsaid = [
        (message, part)
        for message in messages
        for piece in SAID.split(message)
        if len(part := piece.strip(" .,:;()")) > 3 and part not in code
    ]
    assert unsaid == []


def test_what_is_typed_at_a_take_over_is_typed_in_the_lab() -> None:
    """The other way round, tests/lived_in/evening.py types what the document has, and no more."""
    text = (ROOT / "docs" / "takeover.md").read_text()
    documented = {
        re.sub(r" -i inventory/production --vault-id production@prompt", "", command)
        for command in commands(text)
        if command.startswith(("ansible-playbook ", "sudo "))
    }
    sources = [path.read_text() for path in sorted((ROOT / "tests" / "lived_in").glob("*.py"))]
    named = re.compile(r'^([A-Z]+) = "(ansible-playbook [^"]*)"$', re.MULTILINE)
    constants = dict(named.findall("\n".join(sources)))
    in_the_lab = set()
    for source in sources:
        for written in re.findall(r'\btyped(?:_on)?\(\s*(?:"slm", )?f?"([^"]*)"', source):
            in_the_lab.add(written.format_map(constants))
        in_the_lab |= {constants[name] for name in re.findall(r"\btyped\(([A-Z]+)\)", source)}
    assert documented == in_the_lab


def test_parts_of_playbooks_are_shared_and_no_document_runs_one() -> None:
    parts = {path.name for path in ROOT.glob("playbooks/parts/*.yml")}
    playbooks = [ROOT / "site.yml", *ROOT.glob("playbooks/*.yml"), *ROOT.glob("playbooks/parts/*")]
    texts = [path.read_text() for path in playbooks if path.is_file()]
    imported = {name for text in texts for name in re.findall(r"import_playbook: (\S+)", text)}
    assert parts
    assert parts <= {name.rpartition("/")[2] for name in imported}
    run = re.compile(r"ansible-playbook\b.*playbooks/parts/.")
    assert [it for it in each(commands) if run.search(it[1])] == []
