"""The pictures of the README are those of the screens as they are: docs/development.md has more."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import expect

from tests.e2e.browsing import Desk, NewDesk
from tests.e2e.scenery import CAST, NOW, READER, Scenery
from tests.e2e.screens import (
    SCREENS,
    USERS,
    Cast,
    Way,
    audit,
    details,
    organizations,
    team,
    teams,
)
from tests.lab.site import ROOT

PICTURES = ROOT / "docs/pictures"
# Of the pixels, how many may be clearly different: another version of the browser or of a font.
MOST_DIFFERENT = 0.01
CLEARLY = 48  # of 255
MOST_BYTES = 120 * 1024


def login(desk: Desk, _: Cast) -> None:
    desk.open("/login")
    expect(desk.button("Log in")).to_be_visible()


def all_users(desk: Desk, _: Cast) -> None:
    desk.open(USERS)
    desk.is_at("autobot")


def new_user(desk: Desk, _: Cast) -> None:
    desk.open(USERS)
    desk.button("Add user").click()
    form = desk.dialog("Add user")
    form.get_by_role("checkbox", name="user").check()
    form.get_by_label("E-mail address").fill("lena@autobot.local")
    form.get_by_label("User name").fill("lena")


def conflict(desk: Desk, cast: Cast) -> None:
    desk.open(f"{USERS}?q={cast.user.username}")
    desk.act(cast.user, "Edit…")
    form = desk.dialog(f"Edit {cast.user.username}")
    form.get_by_label("Display name").fill("Marta Lindholm-Berg")
    desk.watch.expects(412)
    form.get_by_role("button", name="Save").click()
    expect(form).to_contain_text("Somebody else has changed this")


def imported(desk: Desk, _: Cast) -> None:
    desk.open("/settings/admin/users/import/autobot")
    desk.page.get_by_label("File", exact=True).set_input_files(
        {"name": "people.csv", "mimeType": "text/csv", "buffer": b"username\n"}
    )
    rows = desk.page.get_by_role("region", name="Rows")
    expect(rows).to_be_visible()
    desk.button("Dismiss").click()
    rows.scroll_into_view_if_needed()


PICTURED: dict[str, tuple[Way, dict[str, Any]]] = {
    "login": (login, {}),
    "administrators": (SCREENS["administrators"], {}),
    "users": (all_users, {}),
    "users-dark": (all_users, {"color_scheme": "dark"}),
    "users-narrow": (all_users, {"viewport": {"width": 360, "height": 740}}),
    "user": (details, {}),
    "create": (new_user, {}),
    "conflict": (conflict, {}),
    "teams": (teams, {}),
    "team": (team, {}),
    "organizations": (organizations, {}),
    "audit": (audit, {}),
    "import": (imported, {}),
}


def differs(one: Image.Image, other: Image.Image) -> float:
    """The share of the pixels that are clearly different."""
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).convert("L")
    changed = difference.point(lambda value: 255 if value > CLEARLY else 0)
    return changed.histogram()[255] / (one.width * one.height)


@pytest.mark.parametrize("name", PICTURED)
def test_the_picture_shows_the_screen_as_it_is(new_desk: NewDesk, name: str) -> None:
    way, options = PICTURED[name]
    desk = new_desk(timezone_id="UTC", **{"viewport": {"width": 1200, "height": 720}, **options})
    Scenery(desk)
    desk.page.clock.set_fixed_time(NOW)
    if way is not login:
        desk.begin_as(READER)
    way(desk, CAST)
    desk.page.wait_for_load_state("networkidle")
    taken = desk.page.screenshot(animations="disabled", caret="hide")
    shown = Image.open(io.BytesIO(taken))
    smaller = io.BytesIO()
    # Screens have few colours.
    shown.convert("RGB").quantize(128).save(smaller, "PNG", optimize=True)
    kept = PICTURES / f"{name}.png"
    if os.environ.get("UPDATE_PICTURES"):
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(smaller.getvalue())
    picture = Image.open(kept)
    assert picture.size == shown.size
    assert differs(picture, shown) <= MOST_DIFFERENT
    assert kept.stat().st_size <= MOST_BYTES


def test_every_picture_is_in_the_readme_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text()
    kept = sorted(path.stem for path in PICTURES.iterdir())
    assert kept == sorted(PICTURED)
    assert [name for name in kept if f"docs/pictures/{name}.png" not in readme] == []
