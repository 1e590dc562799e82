"""Pages of users side by side with the bare ones."""

import asyncio
import sys

from tests.perf.figures import Aim, Report
from tests.perf.load import Answers, clients, fetch
from tests.perf.servers import Contender, Databases

CLIENTS = 16
WARM_UP = 2.0  # seconds
# Those on the page have one role or two.
_GIVE_ROLES = """
    INSERT INTO user_roles (user_id, role_id)
    SELECT u.id, r.id
    FROM (
        SELECT id, row_number() OVER (ORDER BY created_at DESC, id DESC) AS number
        FROM users ORDER BY created_at DESC, id DESC LIMIT 100
    ) AS u
    JOIN (SELECT id, row_number() OVER (ORDER BY name) AS number FROM roles) AS r
        ON r.number = 1 OR (r.number = 2 AND u.number % 2 = 0)
"""


async def compare(
    report: Report,
    found: Databases,
    ours: Contender,
    bare: Contender,
    *,
    rounds: int,
    seconds: float,
) -> None:
    """Both in turn, `rounds` times, with the same 100 users and their roles."""
    found.autobot.sql(_GIVE_ROLES)
    messages = {ours: await ours.page(), bare: await bare.page()}
    answers = [await fetch(each.socket, message) for each, message in messages.items()]
    if [each.status for each in answers] != [200, 200]:
        sys.exit(f"There is no page: {answers}")
    if answers[0].json()["users"] != answers[1].json()["users"]:
        sys.exit("The pages that are compared are not the same.")
    rates: dict[Contender, list[float]] = {ours: [], bare: []}
    for _ in range(rounds):
        for contender, message in messages.items():
            answered = await _ask(contender, message, seconds)
            report.note(f"page, {contender.name}", answered)
            rates[contender].append(len(answered.seconds) / seconds)
    for contender, rate in rates.items():
        report.add(f"list pages, {contender.name}", rate, "/s")
    ratios = [mine / its for mine, its in zip(rates[ours], rates[bare], strict=True)]
    report.add("list pages, slm over bare", ratios, "times", Aim(0.7, at_least=True))


async def _ask(contender: Contender, message: bytes, seconds: float) -> Answers:
    """What CLIENTS who ask all the time get in `seconds`."""
    answers = Answers()
    async with clients(contender.socket, [lambda: message] * CLIENTS, answers):
        await asyncio.sleep(WARM_UP)
        answers.seconds.clear()
        await asyncio.sleep(seconds)
        return Answers(list(answers.seconds), answers.failures)
