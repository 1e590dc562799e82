"""What schemathesis has to know of this API; it loads this file itself."""

from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response

MALFORMED = {400, 413, 415}
BY_SCHEMA = "The request is not valid. "


@schemathesis.check
def what_the_description_allows_is_well_formed(
    _ctx: CheckContext, response: Response, case: Case[Any]
) -> None:
    """In place of positive_data_acceptance: what no schema can say may be refused, and no more.

    That is, that a reference leads somewhere, that a cursor or ETag was given out by us, that a
    key was not used before.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    assert response.status_code not in MALFORMED
    assert response.status_code != 422 or not response.json()["detail"].startswith(BY_SCHEMA)
