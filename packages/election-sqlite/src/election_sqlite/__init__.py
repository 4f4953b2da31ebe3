"""SQLite storage adapter for election-core: one file, one process, nothing to set up."""

__all__: list[str] = []
