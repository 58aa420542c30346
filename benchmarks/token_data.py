"""What the engines are compared on: token vectors of documents in a folder of flat arrays, queries and judgements.

Either a collection made by `plait build` (its only segment is read in place) or synthetic tokens.

The synthetic model. A token's vector is the unit vector along

    0.70 type + 0.30 topic + 0.25 document + 0.55 noise

of four random unit vectors: one of 3,000 types (drawn by Zipf's law, probability ~ 1 / (rank + 10)), one of 64 topics
that the document has, one of the document's own, one of this token alone. So two tokens of a type have a cosine of 0.5,
and of 0.6 within a topic. Half of a document's tokens take their type from the 300 that its topic prefers. Lengths are
log-normal around 50 tokens (sigma 0.35, at least 4). A query is made from one document: 60 % of its tokens are copies
of that document's tokens, 40 % are types drawn by Zipf's law, each plus 0.6 of noise and brought back to unit length.
What it lacks of real embeddings: words in an order, near-duplicate documents, and dimensions of unequal variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from plait.eval.dataset import open_dataset
from plait.index.kernels import vectors as kernels
from plait.index.tokens import Tokens

from plait import Retriever

TYPES, TOPICS, PREFERRED = 3_000, 64, 300
MEAN_LENGTH, SPREAD, SHORTEST = 50, 0.35, 4
QUERY_TOKENS, QUERY_NOISE, FOREIGN = 32, 0.6, 0.4


@dataclass(frozen=True, eq=False)
class Data:
    folder: Path
    """Holds `vectors` (n, dim) float16, `offsets` (documents + 1,) int64 and `ids` (n,) uint32, as a segment does."""
    queries: list[np.ndarray]
    """(q, dim) float32 each."""
    names: list[str]
    """The queries' ids."""
    documents: list[str] = field(default_factory=list)
    """The documents' ids in the judgements; none without judgements."""
    qrels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def read(folder: Path) -> Tokens:
    """The tokens in a folder, memory-mapped."""
    offsets = np.fromfile(folder / "offsets", "<i8")
    vectors = np.memmap(folder / "vectors", "<f2", "r").view(np.ndarray).reshape(int(offsets[-1]), -1)
    return Tokens(vectors, offsets, np.fromfile(folder / "ids", "<u4"))


def collection(path: Path, source: Path, count: int) -> Data:
    """A built collection and the first `count` judged queries of the BEIR folder it was built from."""
    segments = sorted(path.glob("segment-*"))
    if len(segments) != 1:
        raise SystemExit(f"{path} has {len(segments)} segments; this reads one: run `plait compact` on it")
    judged = open_dataset(source)
    some = dict(list(judged.queries.items())[:count])
    retriever = Retriever(path)
    tokens = retriever.encoding.queries(list(some.values()))
    queries = [np.ascontiguousarray(kernels.widen(tokens.vectors[tokens.rows(i)])) for i in range(len(tokens))]
    with retriever.collection.snapshot() as snapshot:
        numbers = np.fromfile(segments[0] / "documents", "<i8")
        documents = [document.id for document in snapshot.documents(numbers)]
    return Data(segments[0], queries, list(some), documents, {name: judged.qrels[name] for name in some})


def synthetic(folder: Path, documents: int, count: int, dim: int = 128, seed: int = 0) -> Data:
    """Writes documents of the model above into a folder and draws `count` queries."""
    rng = np.random.default_rng(seed)
    types, topics = _unit(rng, TYPES, dim), _unit(rng, TOPICS, dim)
    preferred = rng.permuted(np.tile(np.arange(TYPES), (TOPICS, 1)), axis=1)[:, :PREFERRED]
    lengths = np.maximum(rng.lognormal(np.log(MEAN_LENGTH) - SPREAD**2 / 2, SPREAD, documents).astype(int), SHORTEST)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    offsets.astype("<i8").tofile(folder / "offsets")
    with open(folder / "vectors", "wb") as vectors, open(folder / "ids", "wb") as ids:
        for first in range(0, documents, 1_000):
            some = lengths[first : first + 1_000]
            topic, owner = rng.integers(0, TOPICS, len(some)), np.repeat(np.arange(len(some)), some)
            drawn = preferred[topic[owner], rng.integers(0, PREFERRED, len(owner))]
            drawn = np.where(rng.random(len(owner)) < 0.5, drawn, _zipf(rng, len(owner)))
            mixed = 0.70 * types[drawn] + 0.30 * topics[topic[owner]]
            mixed += 0.25 * _unit(rng, len(some), dim)[owner] + 0.55 * _unit(rng, len(owner), dim)
            vectors.write(_normalised(mixed).astype("<f2").tobytes())
            ids.write(drawn.astype("<u4").tobytes())
    tokens = read(folder)
    targets = rng.integers(0, documents, count)
    return Data(folder, [_query(rng, tokens, t, types) for t in targets], [str(i) for i in range(count)])


def _query(rng: np.random.Generator, tokens: Tokens, document: int, types: np.ndarray) -> np.ndarray:
    own = rng.integers(tokens.offsets[document], tokens.offsets[document + 1], QUERY_TOKENS)
    foreign = rng.random(QUERY_TOKENS) < FOREIGN
    meant = np.where(foreign[:, None], types[_zipf(rng, QUERY_TOKENS)], kernels.widen(tokens.vectors[own]))
    return _normalised(meant + QUERY_NOISE * _unit(rng, QUERY_TOKENS, types.shape[1]))


def _zipf(rng: np.random.Generator, n: int) -> np.ndarray:
    weights = 1 / (np.arange(TYPES) + 10)
    return np.minimum(np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(n)), TYPES - 1)


def _unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    return _normalised(rng.standard_normal((n, dim), np.float32))


def _normalised(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
