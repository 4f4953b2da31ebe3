"""HTTP control API over the election-core engine: OpenAPI, problem details, tokens, metrics."""

__all__: list[str] = []
