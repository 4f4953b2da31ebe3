"""What every part of the store is made of: methods that are transactions."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from attrs import define

from examples.journal_store._journal import Journal
from examples.journal_store._tables import Tables

__all__ = ["Part", "transaction"]


@define(repr=False)
class Part:
    """A part of the store, over its journal."""

    journal: Journal


Self = TypeVar("Self", bound=Part)
P = ParamSpec("P")
T = TypeVar("T")


def transaction(
    method: Callable[Concatenate[Self, Tables, P], T],
) -> Callable[Concatenate[Self, P], Coroutine[Any, Any, T]]:
    """An async method that runs this one as a transaction, with the tables as first argument."""

    @wraps(method)
    async def call(self: Self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.journal.run(lambda tables: method(self, tables, *args, **kwargs))

    return call
