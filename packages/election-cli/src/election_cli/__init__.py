"""The ``election`` command."""

import click

__all__ = ["main"]


@click.group()
@click.version_option(package_name="election-cli")
def main() -> None:
    """Elect one leader per runner group, and ask who leads and why."""
