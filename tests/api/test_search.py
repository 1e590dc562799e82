"""Search: what it finds, also beyond the newest users, and the bounds of its ranges."""

from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.applications import Site
from user_management.population import Population
from user_management.services import user_search
from user_management.services.user_orders import UserSort

PATH = "/api/autobot-users"


async def found(client: httpx2.AsyncClient, **params: Any) -> list[str]:
    response = await client.get(PATH, params=params)
    assert response.status_code == 200, response.text
    return [user["username"] for user in response.json()["users"]]


@pytest.fixture
def site(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Thirty users, of whom only the newest five are looked through."""
    monkeypatch.setattr(user_search, "WINDOW", 5)
    site.databases[Population.AUTOBOT].sql(
        "INSERT INTO users (username, email, display_name, created_at) SELECT 'u' || n || 'x',"
        " 'mail' || n || '@x.y', CASE WHEN n % 10 = 0 THEN 'Rare ' || n END,"
        " timestamptz '2020-01-01' - n * interval '1 day' FROM generate_series(1, 30) n"
    )
    return site


async def test_what_is_rare_is_found_among_the_old_too(admin: httpx2.AsyncClient) -> None:
    assert await found(admin, search="rare") == ["u10x", "u20x", "u30x"]
    assert await found(admin, search="ra") == ["u10x", "u20x", "u30x"]
    assert await found(admin, search="u30x") == ["u30x"]


async def test_pages_go_from_the_new_to_the_old(admin: httpx2.AsyncClient) -> None:
    everybody = [f"u{n}x" for n in range(1, 31)]
    assert await found(admin, search="mail", limit=100) == everybody
    # From the window alone, across its edge, and beyond it.
    assert await found(admin, search="mail", limit=4) == everybody[:4]
    assert await found(admin, search="mail", limit=4, skip=3) == everybody[3:7]
    assert await found(admin, search="mail", limit=4, skip=26) == everybody[26:]
    answer = (await admin.get(PATH, params={"search": "rare", "limit": 2})).json()
    assert answer["next_cursor"]
    assert await found(admin, search="rare", cursor=answer["next_cursor"]) == ["u30x"]


async def test_no_term_matches_across_fields(admin: httpx2.AsyncClient) -> None:
    assert await found(admin, search="x.yu1x") == []
    assert await found(admin, search="x.y\nu1x") == []
    assert await found(admin, search="\n") == []


# Written as AutoBot's own code does: past ours. user name → display name
PEOPLE = {
    "odysseus": "ΟΔΥΣΣΕΥΣ",
    "aylin": "Aylin İstanbulI\u0131",
    "jose": "José Groß",
    "decomposed": "Rene\u0301e Ørsted",
    "wang": "王小明",
    "tanaka": "ﾀﾅｶ タロウ",
    "nok": "นกน้อย",
    "minsu": "김민수",
    "li": "Li Na",
    "souza": "Maria de Souza",
    "émile": "",
    "percent": "100%_\\o",
    "hyphens": "x---y",
}
EACH = [
    ("οδυσσευς", "odysseus"),
    ("ΟΔΥΣΣΕΎΣ", "odysseus"),
    ("σσευσ", "odysseus"),
    ("istanbul", "aylin"),
    ("ISTANBULII", "aylin"),
    ("\u0131stanbul", "aylin"),
    ("jose gross", "jose"),
    ("GROẞ JOSÉ", "jose"),
    ("JOSE\u0301", "jose"),
    ("renée", "decomposed"),
    ("orst", "decomposed"),
    ("小明", "wang"),
    ("小", "wang"),
    ("明  王", "wang"),
    ("ナカ", "tanaka"),
    ("ﾛ", "tanaka"),
    ("น้", "nok"),
    ("민수", "minsu"),
    ("  na   li ", "li"),
    ("souza de", "souza"),
    ("m souza", "souza"),
    ("ÉM", "émile"),
    ("em", "émile"),
    ("émi", "émile"),
    ("00%_\\o", "percent"),
    ("0%", None),
    ("1%o", None),
    ("100_", None),
    ("x--", "hyphens"),
    ("---", None),
    ("明小", None),
    ("na sou", None),
    ("z na", None),
    ("an", None),
    ("\u0301", None),
    ("\u3000", None),
]


@pytest.fixture(params=["1990-01-01", "2021-01-01"], ids=["looked up", "looked through"])
def people(request: pytest.FixtureRequest, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """PEOPLE, who are older than those who are looked through, or among them."""
    monkeypatch.setattr(user_search, "WINDOW", 5 if request.param < "2000" else 100)
    rows = ", ".join(
        f"('{username}', 'mail@{number}', '{name}', '{request.param}')"
        for number, (username, name) in enumerate(PEOPLE.items())
    )
    site.databases[Population.AUTOBOT].sql(
        f"INSERT INTO users (username, email, display_name, created_at) VALUES {rows}"
    )


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(("term", "username"), EACH)
async def test_case_accents_and_order_do_not_matter(
    admin: httpx2.AsyncClient, term: str, username: str | None
) -> None:
    assert await found(admin, search=term) == ([] if username is None else [username])


async def test_a_term_that_is_an_id_finds_its_user(admin: httpx2.AsyncClient) -> None:
    [user] = (await admin.get(PATH, params={"search": "u30x"})).json()["users"]
    for term in (user["id"], f" {user['id'].upper()} ", user["id"].replace("-", "")):
        assert await found(admin, search=term) == ["u30x"]
    for term in (user["id"][:-1], f"{user['id']} u30x"):
        assert await found(admin, search=term) == []


async def test_blanks_alone_ask_for_nothing(admin: httpx2.AsyncClient) -> None:
    assert await found(admin, search="  ") == await found(admin)


async def test_of_very_many_words_the_longest_are_looked_for(admin: httpx2.AsyncClient) -> None:
    parts = " ".join("mail30@x.y"[start:] for start in range(8))
    assert await found(admin, search=f"{parts} u30x 30x absent") == []
    assert await found(admin, search=f"{parts} u30x 30x q") == ["u30x"]
    assert await found(admin, search=" ".join(f"{n:x}" for n in range(90))) == []


@pytest.mark.parametrize("sort", [order.value for order in UserSort])
async def test_each_order_is_kept_page_by_page(admin: httpx2.AsyncClient, sort: str) -> None:
    wanted: dict[str, Any] = {"search": "X.Y Mail", "sort": sort, "is_active": True}
    everybody = await found(admin, **wanted, limit=100)
    assert len(everybody) == 30
    cursor: dict[str, str] | None = {}
    pages: list[str] = []
    while cursor is not None:
        answer = (
            await admin.get(PATH, params={**wanted, **cursor, "limit": 7, "include_total": True})
        ).json()
        assert answer["total"] == 30
        pages += [user["username"] for user in answer["users"]]
        cursor = {"cursor": answer["next_cursor"]} if answer["next_cursor"] else None
    assert pages == everybody


@given(st.text(min_size=1, max_size=2), st.text(max_size=3))
def test_a_range_holds_all_that_begins_with_it(beginning: str, rest: str) -> None:
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
def test_edges_of_ranges(beginning: str, following: str | None) -> None:
    assert user_search._following(beginning) == following


async def test_characters_at_the_edges_are_searched_for(admin: httpx2.AsyncClient) -> None:
    for term in ("\U0010ffff", "a\U0010ffff", "\ud7ff", "\ue000"):
        assert await found(admin, search=term) == []
