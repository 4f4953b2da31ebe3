"""A store in a folder: an adapter from nothing, as docs/how-to/write-an-adapter.md writes it.

Everything is in memory, and every transaction is a line at the end of a file, on disk before it is
answered. Any number of processes of one machine may share the folder: each reads to the end of the
file, under a lock, before it reads or writes anything. `_journal` and `_tables` stand for the
database that you have; the other modules are the adapter that you write.
"""

from __future__ import annotations

from examples.journal_store._store import JournalStore

__all__ = ["JournalStore"]
