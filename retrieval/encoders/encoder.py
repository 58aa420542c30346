"""What an encoder is, and how a name becomes one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

from ...index.errors import InvalidArgument
from ...index.tokens import Tokens

DTYPES = ("float32", "float16", "bfloat16")
EMBEDDED = "minilm"
"""The name of the encoder that needs no download: all-MiniLM-L6-v2, int8, extra `demo`."""


@dataclass(frozen=True)
class EncoderOptions:
    """What a user may change about a checkpoint. None means: as the checkpoint says. Stored with the collection.

    Examples:
        >>> plait.EncoderOptions(query_length=1)
        Traceback (most recent call last):
        plait.index.errors.InvalidArgument: query_length is 1; it must lie between 2 and 8192
    """

    query_length: int | None = None
    """Tokens kept of a query. Larger: long queries keep their end; time grows with it."""
    document_length: int | None = None
    """Tokens kept of a document. Larger: long documents keep their end; index and time grow with it."""
    query_expansion: int | None = None
    """Queries are filled with [MASK] tokens up to this many tokens, 0 to 128 (0: none). More MASKs weight the query's
    terms (quality rises to about 32, then stays: arXiv 2408.13672); search time grows with it."""
    attention: bool = False
    """Fill `Tokens.weights` with the attention each document token receives in the last layer. Slower by about a tenth.
    """
    dtype: str | None = None
    """What the model runs in, and the model of sparse terms beside it: float32, float16 or bfloat16. None: float32 on a
    CPU, half precision on a GPU. Half takes half the memory and a fraction of the time on a GPU, and a CPU longer;
    vectors differ by about a thousandth (bfloat16: a hundredth)."""

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        for name, low, high in (
            ("query_length", 2, 8192),
            ("document_length", 2, 8192),
            ("query_expansion", 0, 128),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InvalidArgument(f"{name} is {value}; it must lie between {low} and {high}")


def check_dtype(dtype: str | None) -> None:
    """InvalidArgument: neither None nor one of `DTYPES`."""
    if dtype not in (None, *DTYPES):
        raise InvalidArgument(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")


def refuse_near(name: str, known: Sequence[str]) -> None:
    """InvalidArgument: a name that is nearly one that plait knows and no folder; nobody need ask the network for it."""
    kind = name.partition(":")[0]
    near = get_close_matches(kind, known, 1, cutoff=0.7)
    if kind not in known and near and "/" not in name and not Path(name).exists():
        raise InvalidArgument(
            f"{name!r} is no encoder that plait knows; did you mean {near[0]!r}? A folder has a / in its name"
        )


@dataclass(frozen=True)
class EncoderSpec:
    """What a loaded encoder is. `name` and the options load it again; `fingerprint` tells
    whether it is still the same."""

    name: str
    family: str
    """minilm, stanford, pylate, sentence-transformers, xtr, plain or coil."""
    dim: int
    query_length: int
    document_length: int
    query_expansion: int
    """Length that queries are filled up to with [MASK]; 0: no expansion."""
    vocabulary: int
    """Number of vocabulary ids; every `Tokens.ids` lies below it."""
    fingerprint: str
    """Hex digest of weights, tokenizer and settings."""


class Encoder(Protocol):
    """Text to token vectors: unit rows (but for COIL), float32, with ids, spans and roles; `globals_` where the model
    has a single vector."""

    @property
    def spec(self) -> EncoderSpec: ...

    def encode_documents(self, texts: Sequence[str]) -> Tokens: ...

    def encode_queries(self, texts: Sequence[str]) -> Tokens: ...

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """As `encode_documents`, without running the model: ids and roles with vectors of dimension 0."""
        ...


def encoder_name(given: Any) -> str:
    """The name of an encoder, or the path of its folder, as text. InvalidArgument: neither."""
    if not isinstance(given, str | os.PathLike):
        raise InvalidArgument(
            f"encoder is {given!r:.80}; give {EMBEDDED!r}, a checkpoint folder, a hub id, or None with "
            "token vectors of your own (add_tokens)"
        )
    return os.fspath(given)
