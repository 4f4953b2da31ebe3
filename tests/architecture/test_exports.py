"""What a package lets people import is what it says it lets them import."""

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

from tests.architecture.workspace import PACKAGES, Package


def _public_modules(package: Package) -> list[str]:
    """The package and its modules without an underscore, dotted."""
    found = pkgutil.walk_packages([str(package.source)], prefix=f"{package.import_name}.")
    names = [info.name for info in found]
    return [
        package.import_name,
        *(name for name in names if not any(part.startswith("_") for part in name.split("."))),
    ]


PUBLIC_MODULES = [name for package in PACKAGES for name in _public_modules(package)]


@pytest.fixture(params=PUBLIC_MODULES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    """Each module that people may import."""
    return importlib.import_module(request.param)


def test_all_names_each_thing_once(module: ModuleType) -> None:
    """Every public module has an `__all__`, and it repeats nothing; ruff keeps its order."""
    names = list(module.__all__)

    assert len(names) == len(set(names))


def test_all_names_exist(module: ModuleType) -> None:
    """`from module import *` finds everything that `__all__` names."""
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_nothing_public_is_left_out(module: ModuleType) -> None:
    """A public class or function is named in the `__all__` of the module that offers it."""
    gives_others = (module.__file__ or "").endswith("__init__.py")

    def is_ours(value: object) -> bool:
        home: str = getattr(value, "__module__", None) or ""
        below = gives_others and home.startswith(f"{module.__name__}.")
        return home == module.__name__ or below

    ours = {name for name, value in vars(module).items() if name[0] != "_" and is_ours(value)}
    assert ours - set(module.__all__) == set()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_packages_are_typed(package: Package) -> None:
    """Each package tells type checkers that it carries its types."""
    assert (package.source / "py.typed").is_file()


def test_importing_the_core_loads_no_machinery() -> None:
    """`import election_core` gives the pure part alone: no event loop, no sockets, no engine."""
    code = """
import sys
before = set(sys.modules)
import election_core
print(*set(sys.modules) - before)
"""
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()

    machinery = {
        "anyio",
        "asyncio",
        "election_core.engine",
        "election_core.memory",
        "election_core.ports",
        "socket",
        "sqlite3",
        "trio",
    }
    assert machinery & set(loaded) == set()
