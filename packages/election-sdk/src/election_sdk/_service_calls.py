"""The calls about tokens and the service itself."""

from __future__ import annotations

from datetime import timedelta

from attrs import field, frozen

from election_core import ElectionError, Page, Token
from election_sdk._calls import Calls, given, seconds
from election_sdk._http import Call, path

__all__ = ["NewToken", "ServiceCalls"]


@frozen(kw_only=True)
class NewToken:
    """A token that was just made."""

    token: Token
    secret: str = field(repr=False)
    """What is sent as the bearer token; it is told this once."""


@frozen
class _Secret:
    token: str = field(repr=False)


class ServiceCalls(Calls):
    """Tokens, health and metrics."""

    async def create_token(
        self,
        kind: str,
        *,
        group_id: str | None = None,
        runner_id: str | None = None,
        ttl: timedelta | None = None,
    ) -> NewToken:
        """Make a token.

        Should an answer be lost, the repeated call makes another; the secret of the first is known
        to nobody.

        Args:
            kind: ``operator``, ``viewer``, ``join`` or ``runner``.
            group_id: What a ``join`` token is for.
            runner_id: What a ``runner`` token is for.
            ttl: How long it is valid; until it is revoked if there is none.
        """
        body = given(
            kind=str(kind), group_id=group_id, runner_id=runner_id, ttl_seconds=seconds(ttl)
        )
        call = Call(method="POST", path=path("tokens"), body=body)
        response = await self._http.send(call, retries=self._retries)
        assert response is not None  # noqa: S101 - only deletions may find nothing
        secret = self._http.read(_Secret, response, call).token
        return NewToken(token=self._http.read(Token, response, call), secret=secret)

    async def tokens(self, *, cursor: str | None = None, limit: int = 100) -> Page[Token]:
        """The tokens, without their secrets."""
        return await self._page(path("tokens"), Page[Token], cursor=cursor, limit=limit)

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a token.

        Raises:
            NotFound: There is none of that id.
        """
        await self._ask(Call(method="DELETE", path=path("tokens", token_id)))

    async def health(self) -> bool:
        """Whether the process answers. Asked once: an answer of a moment ago is none."""
        return await self._well("/healthz")

    async def ready(self) -> bool:
        """Whether the store answers and its schema matches. Asked once."""
        return await self._well("/readyz")

    async def _well(self, where: str) -> bool:
        try:
            await self._http.once(Call(method="GET", path=where))
        except ElectionError:
            return False
        return True

    async def metrics(self) -> str:
        """The metrics, in the text format of Prometheus."""
        call = Call(method="GET", path="/metrics", headers={"Accept": "text/plain"})
        response = await self._http.send(call, retries=self._retries)
        assert response is not None  # noqa: S101 - only deletions may find nothing
        return response.text
