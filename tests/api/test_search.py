"""Search: what it finds, also beyond the newest users, and the bounds of its ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_management.population import Population
from user_management.services import user_search

PATH = "/api/autobot-users"


async def found(client, **params):
    response = await client.get(PATH, params=params)
    assert response.status_code == 200, response.text
    return [user["username"] for user in response.json()["users"]]


@pytest.fixture
def site(site, monkeypatch):
    """Thirty users, of whom only the newest five are looked through."""
    monkeypatch.setattr(user_search, "WINDOW", 5)
    site.databases[Population.AUTOBOT].sql(
        "INSERT INTO users (username, email, display_name, created_at) SELECT 'u' || n || 'x',"
        " 'mail' || n || '@x.y', CASE WHEN n % 10 = 0 THEN 'Rare ' || n END,"
        " timestamptz '2020-01-01' - n * interval '1 day' FROM generate_series(1, 30) n"
    )
    return site


async def test_what_is_rare_is_found_among_the_old_too(admin):
    assert await found(admin, search="rare") == ["u10x", "u20x", "u30x"]
    assert await found(admin, search="ra") == ["u10x", "u20x", "u30x"]
    assert await found(admin, search="u30x") == ["u30x"]


async def test_pages_go_from_the_new_to_the_old(admin):
    everybody = [f"u{n}x" for n in range(1, 31)]
    assert await found(admin, search="mail", limit=100) == everybody
    # From the window alone, across its edge, and beyond it.
    assert await found(admin, search="mail", limit=4) == everybody[:4]
    assert await found(admin, search="mail", limit=4, skip=3) == everybody[3:7]
    assert await found(admin, search="mail", limit=4, skip=26) == everybody[26:]
    answer = (await admin.get(PATH, params={"search": "rare", "limit": 2})).json()
    assert answer["next_cursor"]
    assert await found(admin, search="rare", cursor=answer["next_cursor"]) == ["u30x"]


async def test_no_term_matches_across_fields(admin):
    assert await found(admin, search="x.yu1x") == []
    assert await found(admin, search="x.y\nu1x") == []
    assert await found(admin, search="\n") == []


@given(st.text(min_size=1, max_size=2), st.text(max_size=3))
def test_a_range_holds_all_that_begins_with_it(beginning, rest):
    following = user_search._following(beginning)
    if following is not None:
        low, text, high = (
            each.encode(errors="surrogatepass") for each in (beginning, beginning + rest, following)
        )
        assert low <= text < high


@pytest.mark.parametrize(
    ("beginning", "following"),
    [("an", "ao"), ("a\ud7ff", "a\ue000"), ("\U0010ffff", None), ("a\U0010ffff", None)],
)
def test_edges_of_ranges(beginning, following):
    assert user_search._following(beginning) == following


async def test_characters_at_the_edges_are_searched_for(admin):
    for term in ("\U0010ffff", "a\U0010ffff", "\ud7ff", "\ue000"):
        assert await found(admin, search=term) == []
