"""The packages of this workspace, as their files describe them."""

import tomllib
from pathlib import Path
from typing import Any

from attrs import frozen

ROOT = Path(__file__).parents[2]


@frozen(kw_only=True)
class Package:
    """One package of the workspace.

    Attributes:
        name: What people install.
        import_name: What people import.
        folder: Where it lives.
        project: The `[project]` table of its `pyproject.toml`.
    """

    name: str
    import_name: str
    folder: Path
    project: dict[str, Any]

    @property
    def source(self) -> Path:
        """The folder of the importable package."""
        return self.folder / "src" / self.import_name


def _read(path: Path) -> Package:
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return Package(
        name=project["name"],
        import_name=project["name"].replace("-", "_"),
        folder=path.parent,
        project=project,
    )


PACKAGES = tuple(_read(path) for path in sorted(ROOT.glob("packages/*/pyproject.toml")))
