"""Client and runner library for the election control API, on asyncio and trio."""

__all__: list[str] = []
