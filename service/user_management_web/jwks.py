"""The public keys, for whoever verifies this server's tokens."""

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from user_management_web.problems import problem_responses
from user_management_web.rbac import public
from user_management_web.resources import ResourcesDep

router = APIRouter(tags=["keys"], responses=problem_responses("internal_error"))


class KeySet(BaseModel):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, str]]


@router.get("/.well-known/jwks.json", operation_id="get_keys", dependencies=[Depends(public)])
async def get_keys(resources: ResourcesDep, response: Response) -> KeySet:
    """The current key and, during a rotation, the previous one."""
    response.headers["Cache-Control"] = "public, max-age=300"
    return KeySet.model_validate(resources.verifier.jwks())
