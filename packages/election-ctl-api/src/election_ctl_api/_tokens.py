"""Bearer tokens."""

from __future__ import annotations

from collections.abc import Sequence

from election_core import Invalid, NotFound, Page, Token, TokenKind
from election_ctl_api._access import Access, mint_token
from election_ctl_api._bodies import IssuedToken, NewToken, issued
from election_ctl_api._operations import CURSOR, LIMIT, Call, Operation, operation

__all__ = ["OPERATIONS"]


@operation(
    "POST",
    "/v1/tokens",
    access=Access.OPERATE,
    answers={201: IssuedToken},
    errors=(NotFound,),
).taking(NewToken)
async def create_token(call: Call, body: NewToken) -> object:
    """Make a token; its secret is shown this once."""
    group_id = body.group_id
    match body.kind:
        case TokenKind.OPERATOR | TokenKind.VIEWER:
            _refuse_unless(group_id is None, "group_id", "none for this kind")
            _refuse_unless(body.runner_id is None, "runner_id", "none for this kind")
        case TokenKind.JOIN:
            _refuse_unless(group_id is not None, "group_id", "the group to join")
            _refuse_unless(body.runner_id is None, "runner_id", "none for this kind")
        case TokenKind.RUNNER:
            _refuse_unless(body.runner_id is not None, "runner_id", "the runner")
            runner = await call.engine.runner(body.runner_id or "")
            _refuse_unless(group_id in (None, runner.group_id), "group_id", "the runner's own")
            group_id = runner.group_id
    secret, stored = mint_token(body.kind, group_id=group_id, runner_id=body.runner_id)
    token = await call.store.add_token(stored, ttl=body.ttl)
    return issued(token, secret)


def _refuse_unless(fine: bool, field: str, wanted: str) -> None:
    if not fine:
        raise Invalid(f"{field}: {wanted} is wanted", field=field)


@operation(
    "GET",
    "/v1/tokens",
    access=Access.READ,
    answers={200: Page[Token]},
    parameters=(LIMIT, CURSOR),
)
async def list_tokens(call: Call) -> object:
    """List the tokens, never their secrets."""
    return await call.store.tokens(cursor=call.cursor, limit=call.limit)


@operation(
    "DELETE",
    "/v1/tokens/{token_id}",
    access=Access.OPERATE,
    answers={204: None},
    errors=(NotFound,),
)
async def revoke_token(call: Call) -> None:
    """Revoke a token at once."""
    token_id = call.path("token_id")
    await call.store.revoke_token(token_id)
    call.engine.tokens_revoked()


OPERATIONS: Sequence[Operation] = (create_token, list_tokens, revoke_token)
