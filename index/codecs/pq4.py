"""4-bit product quantisation: token codes that a query scans with byte shuffles, without decoding anything.

A token's vector is rotated and cut into 2 * bytes sub-spaces of 16 centroids each (product quantisation: Jégou et al.,
TPAMI 2011; 4-bit shuffles: André et al., Quicker ADC, TPAMI 2021). Codes are chosen under an anisotropic loss (Guo et
al., ICML 2020): what a code leaves over along its vector moves the score of the query tokens that match it, so that
part weighs more. The rotation is random: on real embeddings PCA and OPQ left smaller errors but did not rank better,
and where PCA was the start, mostly worse; their errors vary more from token to token.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import DataLoss, InvalidArgument
from ..kernels import rows as row_kernels
from ..kernels import vectors as kernels
from . import axes
from .archive import read_arrays

BYTES = (8, 16, 32, 64)
BLOCK = 32
"""Tokens in a block of codes."""
_PULL, _PASSES = 4.0, 2
"""The anisotropic loss's extra weight along the vector, and the rounds of coordinate descent on it."""
_ROUNDS = {16: 12, 256: 30}
"""Rounds of k-means by entries. More barely lower the error."""
_CHUNK = 1 << 14
"""Tokens that are encoded at a time."""


@dataclass(frozen=True, eq=False)
class Codebook:
    """What `fit` learns, and all that encoding and scoring need."""

    rotation: np.ndarray
    """(dim, subs * width) float32: orthonormal rows; zero columns where dim does not divide into the sub-spaces."""
    centroids: np.ndarray
    """(subs, entries, width) float32; 16 entries where codes have 4 bits."""

    @property
    def dim(self) -> int:
        return len(self.rotation)

    @property
    def bytes_per_token(self) -> int:
        return len(self.centroids) // 2

    @cached_property
    def turns(self) -> np.ndarray:
        """The rotation as columns to be multiplied with."""
        return row_kernels.panels(self.rotation)

    @cached_property
    def columns(self) -> np.ndarray:
        """The centroids in the space of the vectors, the first of every sub-space first, as
        columns to be multiplied with."""
        subs, entries, width = self.centroids.shape
        parts = self.rotation.reshape(-1, subs, width).transpose(1, 0, 2)
        products = np.zeros((subs, self.dim, entries), np.float32)
        for w in range(width):
            products += parts[:, :, None, w] * self.centroids[:, None, :, w]
        return row_kernels.panels(products.transpose(1, 2, 0).reshape(-1, entries * subs))

    def to_bytes(self) -> bytes:
        out = io.BytesIO()
        np.savez(out, rotation=self.rotation, centroids=self.centroids)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, entries: int = 16) -> Codebook:
        """DataLoss: these are not the bytes of a codebook with so many entries."""
        try:
            rotation, centroids = read_arrays(data, "rotation", "centroids")
        except ValueError as error:
            raise DataLoss(f"the codebook is damaged ({error}); restore it from a copy or rebuild the index") from None
        subs, found, width = centroids.shape if centroids.ndim == 3 else (0, 0, 0)
        sizes = [2 * b for b in BYTES] if entries == 16 else range(1, 4097)
        if subs not in sizes or found != entries or rotation.shape[1:] != (subs * width,):
            raise DataLoss(f"the codebook has shapes {rotation.shape} and {centroids.shape}; rebuild the index")
        return cls(rotation, centroids)


@dataclass(frozen=True, eq=False)
class Table:
    """One query's scores of every centroid, in 8 bits, as losses against the best centroid of the sub-space."""

    losses: np.ndarray
    """(q, subs, 16) uint8; any four sub-spaces 4g to 4g + 3 sum to at most 255, so kernels may add them in bytes."""
    tops: np.ndarray
    """(q,) float32: what each row scores without any loss."""
    scale: float
    """The score that one unit of loss costs."""

    def take(self, rows: np.ndarray) -> Table:
        """The same for some rows of the query: scores add up over disjoint sets of rows."""
        return Table(self.losses[rows], self.tops[rows], self.scale)

    @property
    def bound(self) -> float:
        """No score is further than this from exact MaxSim over the decoded codes, but for float32 rounding.

        Every entry is rounded by at most half a unit, a token sums `subs` of them per query row, a maximum over tokens
        moves by no more than its arguments, and a document sums q maxima.
        """
        return self.losses.shape[0] * self.losses.shape[1] * self.scale / 2


def fit(sample: np.ndarray, bytes_per_token: int, seed: int = 0) -> Codebook:
    """Learns a codebook from token vectors (n, dim); the same arguments give the same codebook. 20,000 suffice.

    Args:
        sample: float32 or float16, at least one row; dim up to 4096.
        bytes_per_token: 8, 16, 32 or 64. Larger ranks better, and a scan takes proportionally longer and reads more.

    Raises:
        InvalidArgument: no rows, or another size.
    """
    if bytes_per_token not in BYTES:
        raise InvalidArgument(f"bytes_per_token is {bytes_per_token}; it must be one of {BYTES}")
    if not len(sample):
        raise InvalidArgument("a codebook cannot be learned from no vectors")
    return learn(sample, 2 * bytes_per_token, 16, seed)


def learn(sample: np.ndarray, subs: int, entries: int, seed: int = 0, alone: int = 0) -> Codebook:
    """A codebook of `entries` centroids, 16 or 256, in each of `subs` sub-spaces, as `fit` does.

    Args:
        alone: so many directions in which the sample has most energy have a sub-space to themselves, the others share
            the rest as evenly as else.
    """
    rng = np.random.default_rng(seed)
    rotation = _led(sample, subs, alone, rng) if alone else _rotation(sample.shape[1], subs, rng)
    y = _rotated(rotation, sample)
    parts = y.reshape(subs, -1, len(sample))
    start = np.sort(rng.choice(len(sample), entries, replace=len(sample) < entries))
    centroids = np.ascontiguousarray(parts[:, :, start].transpose(0, 2, 1))
    for _ in range(_ROUNDS[entries]):
        centroids = _means(parts, kernels.pq4_assign(y, centroids), centroids)
    return Codebook(rotation, centroids)


def encode(codebook: Codebook, vectors: np.ndarray) -> np.ndarray:
    """Codes (ceil(n / 32), bytes, 32) uint8 of token vectors (n, dim) float32 or float16; layout: `native/pq4.h`.

    Blocks pay no regard to documents. Codes of the tokens appended later to a partly filled block can be spliced in
    with `unpack` and `pack`.
    """
    if vectors.ndim != 2 or vectors.shape[1] != codebook.dim:
        raise InvalidArgument(f"vectors have shape {vectors.shape}; this codebook takes (n, {codebook.dim})")
    out = np.zeros((-(-len(vectors) // BLOCK), codebook.bytes_per_token, BLOCK), np.uint8)
    for start in range(0, len(vectors), _CHUNK):
        packed = pack(numbers(codebook, vectors[start : start + _CHUNK]))
        out[start // BLOCK : start // BLOCK + len(packed)] = packed
    return out


def numbers(codebook: Codebook, vectors: np.ndarray) -> np.ndarray:
    """(subs, n) uint8: the centroid of each vector (n, dim) in every sub-space."""
    y = _rotated(codebook.rotation, vectors)
    return kernels.pq4_assign(y, codebook.centroids, pull=_PULL, passes=_PASSES)


def decode(codebook: Codebook, codes: np.ndarray, tokens: int) -> np.ndarray:
    """(tokens, dim) float32: what the first `tokens` codes stand for."""
    rows = unpack(codes)[:, :tokens]
    parts = [centroids[row] for centroids, row in zip(codebook.centroids, rows, strict=True)]
    return row_kernels.product(np.concatenate(parts, axis=1), codebook.rotation.T)


def pack(numbers: np.ndarray) -> np.ndarray:
    """Centroid numbers (subs, n) uint8, each below 16, to blocks (ceil(n / 32), subs / 2, 32), filled up with zeros."""
    subs, n = numbers.shape
    full = np.zeros((subs, -(-n // BLOCK) * BLOCK), np.uint8)
    full[:, :n] = numbers
    halves = full.reshape(subs // 2, 2, -1, 2, BLOCK // 2)
    rows = halves[:, 0] | halves[:, 1] << 4
    return rows.transpose(1, 0, 3, 2).reshape(-1, subs // 2, BLOCK)


def unpack(codes: np.ndarray) -> np.ndarray:
    """The inverse of `pack`: (subs, 32 * blocks) uint8."""
    blocks, rows, _ = codes.shape
    both = np.stack([codes & 15, codes >> 4]).reshape(2, blocks, rows, BLOCK // 2, 2)
    return both.transpose(2, 0, 1, 4, 3).reshape(2 * rows, blocks * BLOCK)


def table(codebook: Codebook, query: np.ndarray) -> Table:
    """The table of one query (q, dim) float32, with one scale: as fine as byte sums of four sub-spaces allow."""
    if query.ndim != 2 or query.shape[1] != codebook.dim:
        raise InvalidArgument(f"the query has shape {query.shape}; this codebook takes (q, {codebook.dim})")
    subs = len(codebook.centroids)
    products = row_kernels.multiply(query, codebook.columns, 16 * subs)
    return Table(*kernels.pq4_table(products.reshape(len(query), 16, subs)))


def scan(
    codes: np.ndarray,
    offsets: np.ndarray,
    table: Table,
    *,
    allowed: np.ndarray | None = None,
    threads: int = 1,
) -> np.ndarray:
    """Approximate MaxSim (documents,) float32 of one query with every document.

    Within `Table.bound` of exact MaxSim over the decoded codes. Minus infinity for a document without tokens, and for
    one that is not allowed, whose codes are not read. The same to the bit for any number of threads and on every
    instruction set.

    Args:
        codes: as `encode` returns them.
        offsets: (documents + 1,) int64 token rows.
        allowed: (documents,) bool.
        threads: at least 1; documents are split among them.
    """
    if threads < 1:
        raise InvalidArgument(f"threads is {threads}; it must be at least 1")
    top = float(table.tops.sum(dtype=np.float64))
    return kernels.pq4_scores(codes, offsets, table.losses, top, table.scale, allowed=allowed, threads=threads)


def _rotation(dim: int, subs: int, rng: np.random.Generator) -> np.ndarray:
    """A random rotation whose columns are dealt out to the sub-spaces evenly, zeros behind those that get fewer."""
    q = axes.rotation(dim, rng)
    width = -(-dim // subs)
    rotation = np.zeros((dim, subs, width), np.float32)
    for m, columns in enumerate(np.array_split(np.arange(dim), subs)):
        rotation[:, m, : len(columns)] = q[:, columns]
    return rotation.reshape(dim, subs * width)


def _led(sample: np.ndarray, subs: int, alone: int, rng: np.random.Generator) -> np.ndarray:
    """The same, the first `alone` sub-spaces with a principal direction each, the others
    with a rotation of what remains."""
    directions = axes.principal(sample).astype(np.float32)
    others = row_kernels.product(directions[:, alone:], _rotation(len(directions) - alone, subs - alone, rng))
    parts = others.reshape(len(directions), subs - alone, -1)
    rotation = np.zeros((len(directions), subs, parts.shape[2]), np.float32)
    rotation[:, :alone, 0], rotation[:, alone:] = directions[:, :alone], parts
    return rotation.reshape(len(directions), -1)


def _rotated(rotation: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(subs * width, n) float32: one row per rotated dimension, as the kernels read it."""
    return np.ascontiguousarray(row_kernels.product(kernels.widen(vectors), rotation).T)


def _means(parts: np.ndarray, numbers: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Every centroid moves to the mean of its members; one without members stays."""
    moved = centroids.copy()
    entries = centroids.shape[1]
    for m, member in enumerate(numbers):
        counts = np.bincount(member, minlength=entries)
        sums = np.stack([np.bincount(member, values, entries) for values in parts[m]], axis=1)
        moved[m, counts > 0] = sums[counts > 0] / counts[counts > 0, None]
    return moved
