"""Each screen: what axe-core finds, in light and dark, and whether it fits a narrow one."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import Desk, NewDesk
from tests.e2e.screens import SCREENS, Cast
from tests.lab.people import People

# WCAG's reflow: 320 CSS pixels.
LOOKS = pytest.mark.parametrize(
    ("scheme", "width", "height"),
    [("light", 1280, 900), ("dark", 360, 740), ("light", 320, 640)],
)


@pytest.fixture
def cast(people: People) -> Cast:
    """Somebody with a session, a role, a team and an organization."""
    organization = people.organization()
    team = people.team(organization_id=organization["id"])
    user = people.create(
        "autobot", "marta", "user", org_id=organization["id"], display_name="Marta of the harbour"
    )
    people.answer("POST", f"/api/autobot-teams/{team['id']}/members", {"user_id": user.id})
    assert people.log_in(user).status_code == 200
    return Cast(user, team["id"], team["name"], organization["id"], organization["name"])


def judged(desk: Desk) -> list[str]:
    """What is wrong with the screen as it stands."""
    wide, room = desk.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    return desk.axe() + ([f"{wide} pixels wide on {room}"] if wide > room else [])


@LOOKS
def test_every_screen_reads_well_and_fits(
    new_desk: NewDesk, people: People, cast: Cast, scheme: str, width: int, height: int
) -> None:
    desk = new_desk(color_scheme=scheme, viewport={"width": width, "height": height})
    desk.begin_as(people.administrator())
    faults = []
    for name, way in SCREENS.items():
        way(desk, cast)
        faults += [f"{name}: {fault}" for fault in judged(desk)]
    assert not faults, "\n".join(faults)


@LOOKS
def test_the_screens_before_the_login_do_too(
    new_desk: NewDesk, people: People, scheme: str, width: int, height: int
) -> None:
    me = people.create("slm", must_change_password=True)
    desk = new_desk(color_scheme=scheme, viewport={"width": width, "height": height})
    desk.watch.expects(401)
    desk.open("/login")
    expect(desk.button("Log in")).to_be_visible()
    faults = judged(desk)
    desk.log_in(me, "not-the-password")
    expect(desk.alert).to_be_visible()
    faults += judged(desk)
    desk.log_in(me)
    expect(desk.heading("Choose your own password")).to_be_visible()
    faults += judged(desk)
    assert not faults, "\n".join(faults)


def test_moments_are_shown_in_the_readers_zone(new_desk: NewDesk, people: People) -> None:
    someone = people.create("autobot")
    me = people.administrator()
    created = datetime.fromisoformat(people.answer("GET", someone.path)["created_at"])
    seen = set()
    for zone in ("Asia/Tokyo", "America/New_York"):
        desk = new_desk(timezone_id=zone)
        desk.begin_as(me, f"/settings/admin/users/autobot?q={someone.username}")
        moment = desk.row(someone.username).get_by_role("time")
        expect(moment).to_have_count(1)
        there = created.astimezone(ZoneInfo(zone))
        expect(moment).to_have_text(f"{there.day} {there:%b %Y, %H:%M}")
        seen.add(moment.inner_text())
    assert len(seen) == 2
