"""The AutoBot backend: what AutoBot's frontend calls, with the rights of the backend's own role."""

from datetime import UTC, datetime, timedelta

import pytest
from jose import jwt

from user_management.population import Population

AUTOBOT = Population.AUTOBOT


@pytest.fixture
async def marta(site):
    """An application user."""
    return await site.add_user(AUTOBOT, "marta")


async def test_the_plans_user_logs_in_whom_the_slm_server_created(admin, backend):
    created = await admin.post(
        "/api/autobot-users",
        json={
            "username": "testuser",
            "password": "TestPass123!",
            "email": "test@autobot.local",
            "is_admin": False,
        },
    )
    assert created.status_code == 201, created.text
    response = await backend.try_login("testuser", "TestPass123!")
    assert response.status_code == 200, response.text
    assert response.json()["user"]["user_id"] == created.json()["id"]


async def test_what_a_login_answers(backend, marta):
    response = await backend.try_login("Marta")
    assert response.status_code == 200, response.text
    body = response.json()
    last_login = datetime.fromisoformat(body["user"].pop("last_login"))
    assert abs(datetime.now(UTC) - last_login) < timedelta(seconds=10)
    assert body["user"] == {
        "username": "marta",
        "user_id": str(marta),
        "role": "user",
        "email": "marta@autobot.local",
    }
    assert body["success"] is True
    assert body["message"]
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == 1800
    assert body["refresh_expires_in"] == 3600
    assert body["must_change_password"] is False
    claims = jwt.get_unverified_claims(body["token"])
    assert claims["sid"] == body["session_id"]
    now = claims["iat"]
    assert {name: claims[name] for name in claims if name not in ("jti", "sid")} == {
        "iss": "https://backend.autobot.internal",
        "aud": "autobot-api",
        "sub": str(marta),
        "uid": str(marta),
        "iat": now,
        "nbf": now,
        "exp": now + 1800,
        "username": "marta",
        "role": "user",
        "email": "marta@autobot.local",
        "user_id": str(marta),
        "org_id": None,
    }
