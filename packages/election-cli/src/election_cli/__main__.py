"""`python -m election_cli` is the `election` command."""

from __future__ import annotations

from election_cli import main

if __name__ == "__main__":
    main()
