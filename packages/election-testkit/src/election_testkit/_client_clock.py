"""A process whose wall clock is wrong."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from types import ModuleType
from typing import Self
from unittest.mock import patch

from typing_extensions import override

__all__ = ["client_clock_off"]

_NANOSECONDS = 1_000_000_000


class _AnyDatetime(type):
    """Every datetime counts as one of the class in disguise, and the class as that of datetimes.

    So annotations that are looked up meanwhile mean what they always mean.
    """

    @override
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)

    @override
    def __eq__(cls, other: object) -> bool:
        return other is datetime or other is cls

    @override
    def __hash__(cls) -> int:
        return hash(datetime)


@contextmanager
def client_clock_off(seconds: float, packages: tuple[str, ...]) -> Iterator[None]:
    """Within the block the wall clock is off for who reads it through Python.

    Args:
        seconds: How far; negative for behind.
        packages: In the modules of these, submodules included, `datetime.now`, `utcnow` and `today`
            are off too. `time.time` and `time.time_ns` are off everywhere where they are looked up
            in `time`, and in those modules by any name.
    """
    off = timedelta(seconds=seconds)
    true_time, true_ns = time.time, time.time_ns

    def wrong_time() -> float:
        return true_time() + seconds

    def wrong_ns() -> int:
        return true_ns() + int(seconds * _NANOSECONDS)

    class WrongDatetime(datetime, metaclass=_AnyDatetime):
        @classmethod
        @override
        def now(cls, tz: tzinfo | None = None) -> Self:
            return datetime.now(tz) + off  # type: ignore[return-value]

        @classmethod
        @override
        def today(cls) -> Self:
            return datetime.now() + off  # type: ignore[return-value]  # noqa: DTZ005

        @classmethod
        @override
        def utcnow(cls) -> Self:
            return datetime.now(UTC).replace(tzinfo=None) + off  # type: ignore[return-value]

    wrong: dict[int, object] = {
        id(datetime): WrongDatetime,
        id(true_time): wrong_time,
        id(true_ns): wrong_ns,
    }
    with ExitStack() as stack:
        stack.enter_context(patch.object(time, "time", wrong_time))
        stack.enter_context(patch.object(time, "time_ns", wrong_ns))
        for module in _modules(packages):
            for name, value in list(vars(module).items()):
                if id(value) in wrong:
                    stack.enter_context(patch.object(module, name, wrong[id(value)]))
        yield


def _modules(packages: tuple[str, ...]) -> list[ModuleType]:
    """The loaded modules of these packages."""
    return [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in packages and isinstance(module, ModuleType)
    ]
