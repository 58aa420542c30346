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
    import os
    from pathlib import Path
    from typing import Unpack

    from plait.index.errors import AlreadyExists as AlreadyExists
    from plait.index.errors import DataLoss as DataLoss
    from plait.index.errors import FailedPrecondition as FailedPrecondition
    from plait.index.errors import IdleOption as IdleOption
    from plait.index.errors import InvalidArgument as InvalidArgument
    from plait.index.errors import NotFound as NotFound
    from plait.index.errors import Overloaded as Overloaded
    from plait.index.errors import PlaitError as PlaitError
    from plait.index.errors import Unavailable as Unavailable
    from plait.index.hits import Hits as Hits
    from plait.index.terms import Terms as Terms
    from plait.index.tokens import Role as Role
    from plait.index.tokens import Tokens as Tokens
    from plait.index.tokens import from_matrices as from_matrices
    from plait.index.tokens import from_vectors as from_vectors
    from plait.retrieval.encoders.encoder import EncoderOptions as EncoderOptions
    from plait.retrieval.encoders.load import load_encoder as load_encoder
    from plait.retrieval.hit import Hit as Hit
    from plait.retrieval.retriever import Retriever as Retriever
    from plait.retrieval.routes.explanation import Explanation as Explanation
    from plait.retrieval.routes.find import Queries as Queries
    from plait.retrieval.settings import Making, Opening
    from plait.service.client.remote import Remote as Remote
    from plait.service.client.server import Server as Server

    __version__: str

# The imports above are for type checkers; tests/plait/test_door.py compares them with these.
_NAMES = {
    **dict.fromkeys(
        (
            "AlreadyExists",
            "DataLoss",
            "FailedPrecondition",
            "IdleOption",
            "InvalidArgument",
            "NotFound",
            "Overloaded",
            "PlaitError",
            "Unavailable",
        ),
        ".index.errors",
    ),
    "EncoderOptions": ".retrieval.encoders.encoder",
    "Explanation": ".retrieval.routes.explanation",
    "Hit": ".retrieval.hit",
    "Hits": ".index.hits",
    "Queries": ".retrieval.routes.find",
    "Remote": ".service.client.remote",
    "Retriever": ".retrieval.retriever",
    "Role": ".index.tokens",
    "Server": ".service.client.server",
    "Terms": ".index.terms",
    "Tokens": ".index.tokens",
    "from_matrices": ".index.tokens",
    "from_vectors": ".index.tokens",
    "load_encoder": ".retrieval.encoders.load",
}

__all__ = ["connect", "create", "open", *_NAMES]  # pyright: ignore[reportUnsupportedDunderAll]


def create(path: str | Path, **settings: Unpack[Making]) -> Retriever:
    """Makes an empty collection in a new or empty folder. If it fails or is killed, the folder is as free as before.

    What it is made of cannot be changed later (except which `fields` have an index).

    Args:
        path: the collection's folder.
        encoder: `minilm` (the default; embedded, 384 dimensions), a checkpoint folder or a hub id. None: no encoder;
            token vectors of `dim` dimensions are given, or terms or a global vector alone.
        dim: with an encoder, project token vectors to this many dimensions by PCA (costs up to 2 points of nDCG@10 at
            128); without one, the dimensions of the given token vectors, 1 to 4096. None: the encoder's, or no tokens.
        system: `colbert`, `xtr` or `coil`. None: `coil` for a COIL checkpoint, otherwise `colbert`.
        options: what to change about the encoder (`EncoderOptions`).
        reduce: reducers in order, such as `["pool:2"]` (retrieval/reducers/recipe.py has the grammar); by default none.
        terms: what makes sparse terms of a text, beside its token vectors: `bm25`, `bm25:german`, ..., `binary`, or a
            sparse checkpoint (retrieval/text/term_side.py). Several term fields by name: `{"bm25": "bm25", "tilde":
            "tildev2:FOLDER"}`; a search takes any of them, the first unless it names one. None: no terms.
        vector: one global vector for each document as well, scored by dot product. True: the encoder's own; without an
            encoder, the dimensions (1 to 4096) of the `vector` that every document then comes with. None: no vector,
            except with COIL and DupMAE checkpoints, which make one always.
        store: how a segment finds its best documents: `auto` (the default, by the system and the size of each
            segment), `exact`, `flat`, `lists` or `faiss:FACTORY` (index/stores.py).
        precision: how token vectors are stored: `float16` (the default), `int8`,
            `pq:72`, `residual:2`, ... (index/codecs/precisions.py).
        fields: payload fields with an index, so that filters on them are fast; any field can be filtered.
        device, threads, cache, policy, verify, device_memory, encode_pending: as `open` takes them.

    Raises:
        AlreadyExists: the folder holds something.
        InvalidArgument: a setting is unknown, is out of its bounds, or contradicts another.
        NotFound: there is no such checkpoint.
        FailedPrecondition: the encoder needs an extra that is not installed.

    Examples:
        >>> import numpy as np
        >>> index = plait.create(folder / "notes", encoder=None, dim=2)
        >>> index.add_tokens(["a", "b"], plait.from_matrices([np.eye(2), [[0.6, 0.8]]]))
        2
        >>> [hit.id for hit in index.search(plait.from_matrices([[[1.0, 0.0]]]), k=2)[0]]
        ['a', 'b']
    """
    from plait.retrieval.retriever import Retriever

    return Retriever.create(path, **settings)


def open(path: str | Path, **machine: Unpack[Opening]) -> Retriever:
    """Opens a collection. Any number of processes may do so; the first that writes is the only writer until it closes.

    Args:
        path: the collection's folder.
        device: where the encoder and FAISS run, and where codes lie: `cpu` (the default) or `cuda[:N]`.
        threads: CPU threads. None: the libraries' own choice.
        cache: folder that keeps encoder output for later runs. None: nothing is kept.
        policy: when fresh documents are sealed and segments merged in the background (`index/writing/maintenance.py`
            has the defaults). None: only when `collection.seal` or `compact` is called.
        verify: compare the checksums of every segment when it is first opened (True).
        device_memory: bytes on the device for the segments of all collections that were opened so. None: as
            device/placement.py chooses.
        encode_pending: compute in the background what `defer` left out (False).
        encoder: where the checkpoint lies now, if its folder has moved; of several: {where it lay: where it lies}.
            It is compared with the checkpoint that the collection was built with.

    Raises:
        NotFound: the folder holds no collection.
        InvalidArgument: `encoder` names no checkpoint of this collection, or `device` no device.
        FailedPrecondition: a later plait made the collection.
        DataLoss: the catalog is damaged.

    Examples:
        >>> plait.create(folder / "notes", encoder=None, dim=2).close()
        True
        >>> with plait.open(folder / "notes", threads=1) as index:
        ...     len(index)
        0
    """
    from plait.retrieval.retriever import Retriever

    return Retriever(path, **machine)


def connect(
    target: str,
    *,
    api_key: str | None = None,
    ca: str | Path | None = None,
    certificate: tuple[str | Path, str | Path] | None = None,
    insecure: bool = False,
    timeout_s: float = 30.0,
) -> Server:
    """Connects to a server, which `plait serve` starts. The first call reaches it, not this one.

    Args:
        target: `HOST:PORT`. TLS is used unless the host is this machine's loopback.
        api_key: sent with every call.
        ca: PEM file of the authority that signed the server's certificate. None: the system's authorities.
        certificate: PEM files of this client's certificate and its key, for servers that ask for one.
        insecure: no TLS whatever the host; the key and all data can be read on the way.
        timeout_s: the longest that one call may take, in seconds. A read is sent again when the server cannot be
            reached, a write is not.

    Raises:
        FailedPrecondition: the extra `service` is not installed.

    Examples:
        >>> with plait.connect("127.0.0.1:50051") as server:
        ...     server
        Server('127.0.0.1:50051', without TLS)
    """
    from plait.service.client.server import Server

    return Server(target, api_key=api_key, ca=ca, certificate=certificate, insecure=insecure, timeout_s=timeout_s)


if not TYPE_CHECKING:  # to a type checker it would say that plait has every name

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return import_module("importlib.metadata").version("plait")
        if name not in _NAMES:
            raise AttributeError(f"module 'plait' has no attribute {name!r}")
        return getattr(import_module(_NAMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
