"""plait: multi-vector and sparse retrieval in one index.

    index = plait.create("path")                       # or plait.open("path")
    index.add([{"id": "a", "text": "...", "year": 2020}])
    hits = index.search("a question", k=10)
    hits[0].explain()
    index = plait.connect("host:port").open("name")    # the same, on a server

Names are imported when first used, so that `import plait.index` stays light.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# Python started in a checkout finds this file there, and the rooms where plait is installed.
__path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:
    from plait.index.errors import (
        AlreadyExists,
        DataLoss,
        FailedPrecondition,
        IdleOption,
        InvalidArgument,
        NotFound,
        Overloaded,
        PlaitError,
        Unavailable,
    )
    from plait.index.hits import Hits
    from plait.index.terms import Terms
    from plait.index.tokens import Role, Tokens, from_matrices, from_vectors
    from plait.retrieval.encoders.encoder import EncoderOptions
    from plait.retrieval.encoders.load import load_encoder
    from plait.retrieval.retriever import Hit, Retriever
    from plait.retrieval.routes.explanation import Explanation
    from plait.retrieval.routes.find import Queries
    from plait.service.client.remote import Remote
    from plait.service.client.server import Server

_ERRORS = (
    "AlreadyExists",
    "DataLoss",
    "FailedPrecondition",
    "IdleOption",
    "InvalidArgument",
    "NotFound",
    "Overloaded",
    "PlaitError",
    "Unavailable",
)
_NAMES = {
    **dict.fromkeys(_ERRORS, ".index.errors"),
    "Hits": ".index.hits",
    "Role": ".index.tokens",
    "Terms": ".index.terms",
    "Tokens": ".index.tokens",
    "from_matrices": ".index.tokens",
    "from_vectors": ".index.tokens",
    "EncoderOptions": ".retrieval.encoders.encoder",
    "load_encoder": ".retrieval.encoders.load",
    "Explanation": ".retrieval.routes.explanation",
    "Hit": ".retrieval.retriever",
    "Queries": ".retrieval.routes.find",
    "Remote": ".service.client.remote",
    "Retriever": ".retrieval.retriever",
    "Server": ".service.client.server",
}

__all__ = [
    "connect",
    "create",
    "open",
    *_NAMES,  # pyright: ignore[reportUnsupportedDunderAll]
]


def create(path: Any, **settings: Any) -> Retriever:
    """Makes an empty collection; `Retriever.create` lists the settings."""
    return import_module(".retrieval.retriever", __name__).Retriever.create(path, **settings)


def open(path: Any, **machine: Any) -> Retriever:
    """Opens a collection; `device`, `threads` and `cache` as in `Retriever`."""
    return import_module(".retrieval.retriever", __name__).Retriever(path, **machine)


def connect(target: str, **how: Any) -> Server:
    """Connects to a server: `plait.connect("host:port").open("my-notes")`; `Server` lists `api_key`, `ca` and the like."""
    return import_module(".service.client.server", __name__).Server(target, **how)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("plait")
    if name not in _NAMES:
        raise AttributeError(f"module 'plait' has no attribute {name!r}")
    return getattr(import_module(_NAMES[name], __name__), name)
