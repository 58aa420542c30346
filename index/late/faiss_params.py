"""What a FAISS store may be asked for: the grammar of factory strings, and what follows from one."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from importlib.util import find_spec

from ..errors import FailedPrecondition, InvalidArgument

MISSING = "FAISS is not installed: pip install 'plait[faiss]'"

_FACTORY = re.compile(r"IVF(?P<lists>[1-9]\d*)?,(?P<codec>SQfp16|SQ8|PQ(?P<m>[1-9]\d*)(x4fs)?)")
MAX_FACTORY, MAX_LISTS = 64, 1 << 24
"""Characters of a factory string, and lists that it may ask for."""
PER_LIST = 39
"""FAISS's least number of training vectors per centroid."""


@dataclass(frozen=True)
class FaissParams:
    """How tokens are coded and grouped. Stored with the collection."""

    factory: str
    """`IVF{K},{codec}` or `IVF,{codec}`; codecs in the module's table. Larger K: a probe reads fewer tokens (faster,
    less recall), training and adding slow down. Larger M: finer scores, more bytes, slower scans."""
    train_tokens: int | None = None
    """At most so many sampled tokens train the codebook; None: 256 per list, at least 65,536. Larger: centroids fit
    better, time grows with it times K. Below 39 per list, K falls. PQ uses at most 256 of them per codeword."""
    seed: int = 0
    """0 to 2^31 - 1; chooses the sample and the first centroids. Same seed, sample and FAISS: the same codebook."""

    def __post_init__(self) -> None:
        fields(self.factory)
        if self.train_tokens is not None and self.train_tokens < 1:
            raise InvalidArgument(f"train_tokens is {self.train_tokens}; give at least 1, or None for the default")
        if not 0 <= self.seed < 1 << 31:
            raise InvalidArgument(f"seed is {self.seed}; it must lie between 0 and {(1 << 31) - 1}")


def parse(spec: str, dim: int) -> FaissParams:
    """Parameters for a factory string, checked against the vectors' dimension.

    Raises:
        InvalidArgument: the string is outside the grammar, or M does not divide `dim`.
    """
    params = FaissParams(spec)
    _, _, m = fields(spec)
    if m and dim % int(m):
        near = sorted((d for d in range(1, dim + 1) if dim % d == 0), key=lambda d: abs(d - int(m)))[:4]
        choices = ", ".join(map(str, sorted(near)))
        raise InvalidArgument(f"{spec}: M = {m} must divide the dimension {dim}; near it: {choices}")
    return params


def check_installed() -> None:
    """FailedPrecondition: FAISS is not installed. It is not imported: torch may have to come first."""
    if find_spec("faiss") is None:
        raise FailedPrecondition(MISSING)


def list_count(params: FaissParams, tokens: int) -> int:
    """Inverted lists for so many tokens: the factory's K, or 2^floor(log2(16 sqrt(tokens))) as ColBERT's own indexer
    (collection_indexer.py) has it; never more than tokens / 39, never less than 1.
    """
    given, _, _ = fields(params.factory)
    wanted = int(given) if given else 1 << (max(1, math.isqrt(256 * tokens)).bit_length() - 1)
    return max(1, min(wanted, tokens // PER_LIST))


def sample_size(params: FaissParams, tokens: int) -> int:
    """How many of `tokens` rows `train` makes use of: what a caller should sample."""
    cap = params.train_tokens or max(1 << 16, 256 * list_count(params, tokens))
    return min(tokens, cap)


def code_bytes(params: FaissParams, dim: int) -> int:
    """Bytes that one token takes in the index file: its code and its row number."""
    _, codec, m = fields(params.factory)
    return 8 + ({"SQfp16": 2 * dim, "SQ8": dim}.get(codec) or int(m or 0) // (2 if codec.endswith("fs") else 1))


def fields(factory: str) -> tuple[str | None, str, str | None]:
    """K, codec and M, as written."""
    match = _FACTORY.fullmatch(factory) if len(factory) <= MAX_FACTORY else None
    if match and int(match["lists"] or 1) > MAX_LISTS:
        raise InvalidArgument(f"FAISS factory {factory!r} has {match['lists']} lists; at most {MAX_LISTS:,} are taken")
    if not match:
        remedy = "; rotations are not supported, drop the prefix" if factory.startswith("OPQ") else ""
        forms = ", ".join(f"IVF[K],{codec}" for codec in ("SQfp16", "SQ8", "PQ{M}", "PQ{M}x4fs"))
        raise InvalidArgument(f"FAISS factory {factory!r} is not one of {forms}, such as IVF,SQ8{remedy}")
    return match["lists"], match["codec"], match["m"]
