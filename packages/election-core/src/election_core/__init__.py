"""The pure decisions, the storage port and the engine of a leader election per runner group."""

__all__: list[str] = []
