"""Every kind of question that a collection answers, asked of one on disk, and collections of every kind to ask them of.

A test of damage asks an undamaged collection once and a damaged one after it: equal answers or a named error are right,
other answers are not. Answers are plain values that compare with `==`, scores to the last bit.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.errors import DataLoss, NotFound
from plait.index.filters.sql import And, Eq, Exists, In, Not, Or, Range
from plait.index.params import Bm25, Scoring, SearchParams, TermParams
from plait.index.reading.check import check_collection
from plait.index.reading.snapshot import Snapshot
from plait.index.terms import Terms
from plait.index.tokens import Tokens
from scipy.sparse import csr_array

DIM, VECTOR, KEYS = 16, 4, 64
PER_SEGMENT = 40
FILTERS = (
    Eq("n", 3),
    Range("n", gte=2, lt=7),
    In("tag", ("a", "c")),
    And(Exists("tag"), Not(Eq("tag", "b"))),
    Or(Eq("n", 5), Eq("author.name", "m1")),
)
NARROW = SearchParams(k_token=12, nprobe=1, candidates=8)
"""So little that what is found depends on codes, lists and centroids."""
WIDE = SearchParams(k_token=999, nprobe=99, candidates=999)


@dataclass(frozen=True)
class Kind:
    """What a collection is made of, as `Collection.create` takes it."""

    store: str = "exact"
    dim: int = DIM
    precision: str = "float16"
    vector: int = 0
    terms: dict[str, TermField] | TermField | None = None


BOTH = {"weights": TermField(keys=KEYS), "counts": TermField(keys=KEYS, counts=True)}
KINDS = {
    "exact": Kind(vector=VECTOR, terms=BOTH),
    "flat": Kind("flat:8", terms=TermField(keys=KEYS, per_token=True)),
    "lists": Kind("lists:8", precision="int8"),
    "coil": Kind("contextual", vector=VECTOR),
    "pq": Kind("flat:8", precision="pq:32"),
    "residual": Kind("lists:8", precision="residual:2"),
    "terms": Kind(dim=0, terms=TermField(keys=KEYS)),
    **({"faiss": Kind("faiss:IVF2,SQ8")} if importlib.util.find_spec("faiss") else {}),
}


def make(path: Path, kind: Kind) -> None:
    """Two segments, fresh documents, dead ones in each and among the fresh; payloads with declared and other fields;
    where the collection has terms and tokens, documents that wait for their tokens.
    """
    sides: dict[str, Any] = {"vector": kind.vector, "terms": kind.terms, "precision": kind.precision}
    with Collection.create(path, kind.dim, kind.store, fields=["n", "tag"], threads=1, **sides) as collection:
        collection.live.upsert(**_batch(kind, "a", PER_SEGMENT))
        collection.seal()
        with collection.builder() as builder:
            builder.add(**_batch(kind, "b", PER_SEGMENT))
            builder.publish()
        collection.live.upsert(**_batch(kind, "c", 6))
        collection.live.delete(["a3", "a17", "b5", "c2"])
        collection.live.upsert(**{key: value for key, value in _batch(kind, "a", 2).items()})
        collection.live.update_payload("b7", {"n": 3})
        if kind.terms and kind.dim:
            batch = _batch(kind, "w", 3)
            collection.live.upsert(**{**batch, "tokens": None}, defer=True)


def answers(path: Path, verify: bool = True) -> dict[str, Any]:
    """What a collection answers to every kind of question. Raises what the first question raises that has no answer."""
    with Collection(path, threads=1, verify=verify) as collection, collection.snapshot() as snapshot:
        found = dict(_of_catalog(collection, snapshot))
        if collection.dim:
            found |= dict(_of_tokens(collection, snapshot))
        if collection.vector:
            found |= dict(_of_vectors(snapshot, collection.vector))
        for name, field in collection.schema.terms.items():
            found |= dict(_of_terms(snapshot, name, field))
        stats = collection.stats()
    return {**found, "stats": {key: value for key, value in stats.items() if "bytes" not in key and key != "log"}}


def verdict(path: Path, good: dict[str, Any], verify: bool = True) -> str:
    """`right`, `told` (DataLoss, or NotFound of what is there no more) or `WRONG ...`; every other error is raised."""
    try:
        got = answers(path, verify)
    except (DataLoss, NotFound) as error:
        return f"told {error}"
    wrong = [key for key in good if got.get(key) != good[key]]
    return f"WRONG {wrong[:3]}" if wrong or got.keys() != good.keys() else "right"


def named(path: Path, name: str) -> bool:
    """Whether a check names the file."""
    return any(name in problem for problem in check_collection(path))


def tokens_of(kind: Kind, name: str) -> Tokens:
    """One document of 1 to 4 tokens, seeded unit vectors with ids, spans and roles, and perhaps a global vector."""
    rng = np.random.default_rng([ord(name[0]), int(name[1:])])
    n = 1 + int(rng.integers(4)) if kind.dim else 0
    vectors = rng.standard_normal((n, kind.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = rng.standard_normal((1, kind.vector)).astype(np.float16) if kind.vector else None
    if not kind.dim:
        return Tokens(np.zeros((0, 0), np.float16), np.array([0, 0]), globals_=whole)
    spans = np.arange(2 * n, dtype=np.uint32).reshape(-1, 2)
    ids = rng.integers(0, 9, n).astype(np.uint32)
    return Tokens(
        vectors.astype(np.float16), np.array([0, n]), ids, spans, roles=np.full(n, 7, np.uint8), globals_=whole
    )


def terms_of(names: list[str], field: TermField, salt: int) -> Terms:
    """Sparse rows that a seed gives: one for each document, or one for each of its tokens."""
    rows: list[dict[int, float]] = []
    counts = []
    for name in names:
        rng = np.random.default_rng([ord(name[0]), int(name[1:]), salt])
        for _ in range(1 + int(rng.integers(3)) if field.per_token else 1):
            keys = rng.choice(KEYS, int(rng.integers(1, 9)), replace=False)
            values = rng.integers(1, 9, len(keys)) if field.counts else rng.random(len(keys)) + 0.1
            rows.append(dict(sorted(zip(keys.tolist(), values.tolist(), strict=True))))
        counts.append(len(rows))
    weights = np.array([w for row in rows for w in row.values()], np.float32)
    keys = np.array([k for row in rows for k in row], np.int64)
    starts = np.cumsum([0, *map(len, rows)])
    return Terms(
        csr_array((weights, keys, starts), shape=(len(rows), field.keys)),
        np.array([0, *counts]) if field.per_token else None,
    )


def _batch(kind: Kind, letter: str, count: int) -> dict[str, Any]:
    from plait.index.tokens import concatenate

    names = [f"{letter}{i}" for i in range(count)]
    payloads = [
        {"n": i % 9, "tag": "abc"[i % 3], "author": {"name": f"m{i % 4}"}, "text": f"Größe {n}"}
        for i, n in enumerate(names)
    ]
    terms: Any = None
    if isinstance(kind.terms, TermField):
        terms = terms_of(names, kind.terms, 0)
    elif kind.terms:
        terms = {name: terms_of(names, field, i) for i, (name, field) in enumerate(kind.terms.items())}
    tokens = concatenate([tokens_of(kind, name) for name in names]) if kind.dim or kind.vector else None
    return {"ids": names, "tokens": tokens, "payloads": payloads, "terms": terms}


Answers = Iterator[tuple[str, Any]]


def _of_catalog(collection: Collection, snapshot: Snapshot) -> Answers:
    view = snapshot.view
    yield "seq", view.meta("seq")
    documents = view.page("", 9999)
    yield "documents", [(d.number, d.id, d.payload) for d in documents]
    yield "by number", [(d.id, d.payload) for d in snapshot.documents([d.number for d in documents[::-1]])]
    yield "by id", sorted((d.id, d.number) for d in view.by_ids([d.id for d in documents]).values())
    yield "count", view.count()
    yield "pending", view.pending().tolist()
    yield "dead", view.tombstones().tolist()
    yield "declared", view.declared
    for i, filter in enumerate(FILTERS):
        parts = snapshot.parts(filter)
        allowed = [p.segment.documents[p.allowed].tolist() for p in parts if p.allowed is not None]
        yield f"filter {i}", allowed
        yield f"filtered page {i}", [d.id for d in _filtered(snapshot, filter)]
    yield "store", (collection.store, collection.schema.meta)


def _filtered(snapshot: Snapshot, filter: Any) -> list[Any]:
    from plait.index.filters.sql import compile

    return snapshot.view.page("", 9999, *compile(filter, snapshot.view.declared))


def _hits(found: list[Any]) -> list[tuple[list[int], list[float]]]:
    return [(hits.docs.tolist(), hits.scores.tolist()) for hits in found]


def _tokens_of_all(snapshot: Snapshot) -> list[Any]:
    columns = "vectors", "offsets", "ids", "spans", "span_offsets", "roles", "globals_"
    stored = [snapshot.tokens(d.number) for d in snapshot.view.page("", 9999)]
    return [[None if (a := getattr(t, c)) is None else a.tolist() for c in columns] for t in stored]


def _of_tokens(collection: Collection, snapshot: Snapshot) -> Answers:
    rng = np.random.default_rng(11)
    vectors = rng.standard_normal((6, collection.dim)).astype(np.float32)
    whole = rng.standard_normal((2, collection.vector)).astype(np.float32) if collection.vector else None
    ids = rng.integers(0, 9, 6).astype(np.uint32)
    queries = Tokens(vectors, np.array([0, 4, 6]), ids, globals_=whole)
    kinds: list[Scoring] = [Scoring(), Scoring("retrieved"), *([Scoring("coil")] if _by_id(snapshot) else [])]
    numbers = [d.number for d in snapshot.view.page("", 9999)]
    one = queries.take([0])
    for scoring in kinds:
        for params, said in ((NARROW, "narrow"), (WIDE, "wide")):
            yield f"{scoring.tokens} {said}", _hits(snapshot.search(queries, 9, scoring, params))
        yield f"{scoring.tokens} filtered", _hits(snapshot.search(queries, 9, scoring, WIDE, FILTERS[1]))
        yield f"{scoring.tokens} exact", _hits(snapshot.search(queries, 999, scoring, exact=True))
        if scoring.tokens != "retrieved":
            yield f"{scoring.tokens} scores", snapshot.score_tokens(one, numbers, scoring=scoring).tolist()
        yield f"{scoring.tokens} explained", [_plain(snapshot.explain(one, n, scoring, WIDE)) for n in numbers[::9]]
    yield "tokens", _tokens_of_all(snapshot)


def _by_id(snapshot: Snapshot) -> bool:
    return all(p.segment.tokens.ids is not None for p in snapshot.state.parts)


def _plain(record: Any) -> Any:
    """A record of arrays as plain values."""
    if isinstance(record, np.ndarray | np.generic):
        return record.tolist()
    if hasattr(record, "__dataclass_fields__"):
        return {name: _plain(getattr(record, name)) for name in record.__dataclass_fields__}
    if isinstance(record, list | tuple):
        return [_plain(one) for one in record]
    return record


def _of_vectors(snapshot: Snapshot, width: int) -> Answers:
    queries = np.random.default_rng(12).standard_normal((2, width)).astype(np.float32)
    numbers = [d.number for d in snapshot.view.page("", 9999)]
    waiting = snapshot.view.pending().tolist()
    there = [n for n in numbers if n not in waiting]
    yield "vectors", _hits(snapshot.search_vectors(queries, 9))
    yield "vectors filtered", _hits(snapshot.search_vectors(queries, 9, FILTERS[0]))
    yield "vectors exact", _hits(snapshot.search_vectors(queries, 999, exact=True))
    yield "vector scores", snapshot.score_vectors(queries[0], there).tolist()


def _of_terms(snapshot: Snapshot, name: str, field: TermField) -> Answers:
    queries = terms_of(["q1", "q2", "q3"], TermField(keys=field.keys, counts=field.counts), 7)
    numbers = [d.number for d in snapshot.view.page("", 9999)]
    one = terms_of(["q1"], TermField(keys=field.keys, counts=field.counts), 7)
    ways: list[Bm25 | None] = [None, *([Bm25()] if field.counts else [])]
    for bm25 in ways:
        said = f"{name} {'bm25' if bm25 else 'sums'}"
        yield said, _hits(snapshot.search_terms(queries, 9, bm25=bm25, field=name))
        yield f"{said} all", _hits(snapshot.search_terms(queries, 999, bm25=bm25, field=name))
        yield f"{said} filtered", _hits(snapshot.search_terms(queries, 9, FILTERS[1], bm25, field=name))
        few = TermParams(term_candidates=9, query_terms=2)
        yield f"{said} few", _hits(snapshot.search_terms(queries, 5, bm25=bm25, params=few, field=name))
        yield f"{said} scores", snapshot.score_terms(one, numbers, bm25, name).tolist()
        yield f"{said} explained", [_plain(snapshot.explain_terms(one, n, bm25, name)) for n in numbers[::9]]
    yield f"{name} statistics", _plain(snapshot.term_statistics(np.arange(field.keys), name))
    rows = [snapshot.terms(n, name).rows for n in numbers]
    yield f"{name} stored", [(r.indptr.tolist(), r.indices.tolist(), r.data.tolist()) for r in rows]
    if snapshot._schema.vector:
        whole = np.random.default_rng(13).standard_normal((3, snapshot._schema.vector)).astype(np.float32)
        yield f"{name} added", _hits(snapshot.search_added(queries, whole, 9, field=name))


def flipped(content: bytes, bit: int) -> bytes:
    """The content with one bit turned over."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
