"""What a package declares to need is what it imports, so that it works when installed alone."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.architecture.workspace import PACKAGES, ROOT, Package


def _normal(name: str) -> str:
    """A distribution's name in the one spelling that the packaging rules give it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared(package: Package) -> set[str]:
    """The names, without versions, of what the package declares to need."""
    requirements: list[str] = package.project["dependencies"]
    return {_normal(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}


def _imported(package: Package) -> set[str]:
    """The distributions that the source imports, itself and the standard library left out."""
    roots: set[str] = set()
    for path in package.source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                roots.add(node.module.partition(".")[0])
    outside = roots - set(sys.stdlib_module_names) - {package.import_name}
    by_import = {
        **packages_distributions(),
        **{other.import_name: [other.name] for other in PACKAGES},
    }
    return {_normal(by_import[root][0]) for root in outside}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_declared_dependencies_are_the_imported_ones(package: Package) -> None:
    """A package declares every distribution that its source imports, and no other."""
    assert _declared(package) == _imported(package)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_packages_carry_the_licence(package: Package) -> None:
    """What people install holds the licence of the whole, word for word."""
    assert (package.folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_packages_share_one_version() -> None:
    """Packages are released together and ask for each other in that version."""
    versions = {package.project["version"] for package in PACKAGES}
    assert len(versions) == 1

    version = versions.pop()
    own = {package.name for package in PACKAGES}
    asked = {
        requirement
        for package in PACKAGES
        for requirement in package.project["dependencies"]
        if re.split(r"[^\w-]", requirement)[0] in own
    }
    assert {requirement.partition("~=")[2] for requirement in asked} == {version}
