"""What a sparse encoder is, and how a name becomes one: the text side of the inverted systems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...index.errors import InvalidArgument
from ...index.terms import Terms
from ..encoders.encoder import check_dtype

BINARY = "binary"
"""The name of the encoder without a model: presence of BERT's uncased ids."""

FAMILIES = (
    "splade",
    "splade-doc",
    "sentence-transformers",
    "unicoil",
    "tildev2",
    "slim",
    "svdr",
    "dupmae",
    BINARY,
)


@dataclass(frozen=True)
class SparseOptions:
    """What a user may change about a sparse checkpoint. None means: as the checkpoint or its paper says."""

    family: str | None = None
    """One of `FAMILIES`, where the files cannot tell: a plain masked language model is read as `splade` unless this
    says `splade-doc` (queries are not run through the model) or `slim` (token rows)."""
    query_length: int | None = None
    """Tokens kept of a query. Larger: long queries keep their end; time grows with it."""
    document_length: int | None = None
    """Tokens kept of a document. Larger: long documents keep their end; index and time grow with it."""
    pooling: str | None = None
    """`max` (SPLADE v2 and later) or `sum` (v1), for `splade` and `splade-doc`."""
    top: int | None = None
    """Largest entries kept, 1 or more: of a token row for `slim` (20), of a vector for `svdr` (768) and of a document
    for `dupmae` (384) and the others (all). Larger: better matches; index and time grow with it."""
    expander: str | None = None
    """For `tildev2`: folder of the TILDE checkpoint that adds terms to documents. None: none are added."""
    expansions: int = 200
    """TILDE's likeliest terms, 1 or more, counted before own terms and stop words are removed. Larger: higher recall.
    """
    query_checkpoint: str | None = None
    """For `splade`: folder of a separate query model (Efficient SPLADE, arXiv 2207.03834). None: one model for both."""
    dtype: str | None = None
    """What the transformer runs in: float32, float16 or bfloat16. None: float32 on a CPU, half precision on a GPU. Half
    takes half the memory and a fraction of the time on a GPU, and a CPU longer; weights differ by about a thousandth
    (bfloat16: a hundredth)."""

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        for name, low, high in (
            ("query_length", 2, 8192),
            ("document_length", 2, 8192),
            ("top", 1, None),
            ("expansions", 1, None),
        ):
            value = getattr(self, name)
            if value is not None and (value < low or (high is not None and value > high)):
                bounds = f"be {low} or more" if high is None else f"lie between {low} and {high}"
                raise InvalidArgument(f"{name} is {value}; it must {bounds}")
        if self.family is not None and self.family not in FAMILIES:
            raise InvalidArgument(f"no sparse family is called {self.family!r}; choose one of {', '.join(FAMILIES)}")
        if self.pooling not in (None, "max", "sum"):
            raise InvalidArgument(f"pooling is {self.pooling!r}; it must be 'max' or 'sum'")


@dataclass(frozen=True)
class SparseSpec:
    """What a loaded sparse encoder is. `name` and the options load it again; `fingerprint`
    tells whether it is the same."""

    name: str
    family: str
    """One of `FAMILIES`."""
    vocabulary: int
    """The size of the key space: every row of `Terms` has this many columns."""
    query_length: int
    document_length: int
    fingerprint: str
    """Hex digest of weights, tokenizer and settings."""


class SparseEncoder(Protocol):
    """Text to `Terms` over the model's vocabulary ids, float32; one row per text, or one per token for `slim`.

    Padding and the other texts of a batch change no value beyond float rounding. A text without any term gives an
    empty row. The score of a query and a document is the dot product of their rows, but for `slim` (see
    `index/sparse/query.py`).
    """

    @property
    def spec(self) -> SparseSpec: ...

    def encode_documents(self, texts: Sequence[str]) -> Terms: ...

    def encode_queries(self, texts: Sequence[str]) -> Terms: ...

    def names(self, keys: Iterable[int]) -> list[str]:
        """The vocabulary's string for each key."""
        ...
