"""Hyperparameter search with Optuna."""

from hf_ser.extras import needs_extra

with needs_extra():
    from hf_ser.search.hyperparameter_search import SearchArguments, search

__all__ = [
    "SearchArguments",
    "search",
]
