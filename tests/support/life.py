"""A collection's life as operations: what each does to a dictionary, what to a
collection, and whether the two agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle
from plait.index.catalog.schema import TermField
from plait.index.catalog.view import View
from plait.index.collection import Collection
from plait.index.filters.sql import Range
from plait.index.params import Scoring, SearchParams
from plait.index.reading.backup import create_snapshot
from plait.index.reading.check import check_collection
from plait.index.reading.snapshot import Snapshot
from plait.index.terms import TERMS, Terms
from plait.index.tokens import Tokens, concatenate, from_matrices, from_vectors
from scipy.sparse import csr_array, vstack

DIM = 6
KEYS = np.array([0, 1, 2, 1007, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])


def asked(dim: int = DIM) -> Tokens:
    """A query of three tokens."""
    return from_matrices([np.random.default_rng(7).standard_normal((3, dim)).astype(np.float32)])


QUERY = asked()
ALIKE = {"float16": 1.0, "int8": 0.999, "pq": 0.8, "residual": 0.6}
"""By the kind of precision: the least cosine of a stored vector with what was written. Those of other documents are
near 0."""
VECTOR = 4
EVERYTHING = SearchParams(k_token=999, nprobe=99, candidates=999)
PER_TOKEN = TermField(per_token=True)
FIELDS = {"weights": TermField(), "rows": PER_TOKEN}
"""Named fields of a collection; the terms of one document differ in them."""
Kept = TermField | Mapping[str, TermField] | None
COIL = Scoring("coil")
KEYED_QUERY = replace(QUERY, ids=np.array([0, 2, 0], np.uint32), globals_=np.array([[0.5, -1, 2, 0.25]], np.float32))
Operation = tuple[str, Any]
Documents = dict[str, tuple[int, dict[str, Any]]]
"""By id: the seed of the tokens, the payload. ~seed: the tokens are still to come."""


@dataclass(frozen=True)
class Contents:
    """What a collection should hold."""

    documents: Documents = field(default_factory=dict)
    staged: Documents = field(default_factory=dict)
    """Added in bulk, in this order, and not yet published."""


def document(seed: int, dim: int = DIM) -> Tokens:
    """One document of 0 to 4 tokens with exact float16 vectors; of none while they are still to come.

    Vectors of other dimensions than `DIM` have length 1, which some precisions ask for.
    """
    if seed < 0:
        return from_matrices([np.zeros((0, dim), np.float16)], dim)
    vectors = np.random.default_rng(seed).standard_normal((seed % 5, dim))
    if dim != DIM:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return from_matrices([vectors.astype(np.float16)], dim)


def keyed(seed: int, dim: int = DIM) -> Tokens:
    """The same document with few ids and an exact float16 global vector; with this alone if dim is 0."""
    plain, rng = document(seed), np.random.default_rng(seed + 2000)
    whole = rng.standard_normal((1, VECTOR)).astype(np.float16)
    if not dim:
        return from_vectors(whole)
    return replace(plain, ids=rng.integers(0, 4, len(plain.vectors)).astype(np.uint32), globals_=whole)


def sparse(seed: int, field: TermField) -> Terms:
    """The terms of one document: 0 to 3 weights of both signs or counts, or as many weights
    in each of 0 to 2 token rows."""
    seed = there(seed)
    rng = np.random.default_rng(seed + 1000)
    counts = [int(rng.integers(4)) for _ in range(seed % 3 if field.per_token else 1)]
    keys = [np.sort(rng.choice(KEYS, n, replace=False)) for n in counts]
    weights = rng.standard_normal(sum(counts)).astype(np.float32)
    if field.counts:
        weights = np.ceil(np.abs(weights) * 3)
    rows = csr_array(
        (weights, np.concatenate([np.zeros(0, np.int64), *keys]), np.cumsum([0, *counts])),
        shape=(len(counts), field.keys),
    )
    return Terms(rows, np.array([0, len(counts)]) if field.per_token else None)


def there(seed: int) -> int:
    """The seed of a document once its tokens have come."""
    return seed if seed >= 0 else ~seed


def terms_of(seeds: list[int], kept: Kept) -> Terms | dict[str, Terms] | None:
    """The terms of documents as a write takes them: of one field, or of several by name."""
    if not kept:
        return None
    if isinstance(kept, TermField):
        return joined([sparse(seed, kept) for seed in seeds])
    return {name: joined([sparse(seed + offset(name), field) for seed in seeds]) for name, field in kept.items()}


def offset(name: str) -> int:
    """What tells the terms of a document's fields apart: added to its seed."""
    return 0 if name == TERMS else 37 * len(name)


def joined(parts: list[Terms]) -> Terms:
    """Several documents in one, by way of SciPy."""
    rows = csr_array(vstack([p.rows for p in parts], format="csr"))
    if any(p.offsets is None for p in parts):
        return Terms(rows)
    return Terms(rows, np.cumsum([0, *(p.rows.shape[0] for p in parts)]))


def draw(rng: np.random.Generator, contents: Contents, defers: bool = False) -> Operation:
    """An operation that the collection must accept. `defers`: it has terms, so that tokens may come later."""
    if defers and not contents.staged and rng.integers(3) == 0:
        ids = rng.choice([*contents.documents, *"abcdefghij"], 3)
        waiting = {id: there(s) for id, (s, _) in contents.documents.items() if s < 0 and id != ids[0]}
        if waiting and rng.integers(2):
            return "complete", waiting
        return "defer", {str(id): (int(rng.integers(997)), {"n": i, "id": str(id)}) for i, id in enumerate(ids)}
    if contents.staged:
        name = rng.choice(["add", "publish", "publish", "discard"])
    else:
        names = ["upsert", "delete", "delete_where", "update_payload", "add", "seal", "merge", "compact", "snapshot"]
        name = rng.choice(names, p=np.array([6, 3, 1, 2, 1, 2, 1, 1, 1]) / 18)
    seed = int(rng.integers(1 << 30))
    if name in ("upsert", "add"):
        # Bulk ids are always new; upserts take old and new ones.
        pool = [f"b{seed}-{i}" for i in range(3)] if name == "add" else [*contents.documents, *"abcdefghij"]
        ids = rng.choice(sorted(set(pool)), min(len(set(pool)), int(rng.integers(1, 4))), replace=False)
        return str(name), {str(id): (seed % 997 + i, {"n": seed % 60, "id": str(id)}) for i, id in enumerate(ids)}
    if name == "delete":
        return "delete", [str(id) for id in rng.choice([*contents.documents, "a", "b"], 2)]
    if name == "update_payload":
        id = str(rng.choice([*contents.documents] or ["none"]))
        return ("update_payload", (id, {"n": seed % 60})) if contents.documents else ("seal", None)
    return str(name), seed


def after(contents: Contents, operation: Operation) -> Contents:
    """The contents once the operation is acknowledged."""
    documents, (name, value) = dict(contents.documents), operation
    match name:
        case "upsert":
            return Contents({**documents, **value})
        case "defer":
            return Contents({**documents, **{id: (~seed, payload) for id, (seed, payload) in value.items()}})
        case "complete":
            return Contents({**documents, **{id: (seed, documents[id][1]) for id, seed in value.items()}})
        case "delete":
            return Contents({id: d for id, d in documents.items() if id not in value})
        case "delete_where":
            low = value % 60
            return Contents({i: d for i, d in documents.items() if not low <= d[1]["n"] < low + 6})
        case "update_payload":
            id, patch = value
            return Contents({**documents, id: (documents[id][0], {**documents[id][1], **patch})})
        case "add":
            return Contents(documents, {**contents.staged, **value})
        case "publish":
            return Contents({**documents, **contents.staged})
        case "discard":
            return Contents(documents)
    return contents


def perform(collection: Collection, operation: Operation) -> None:
    name, value = operation
    match name:
        case "upsert":
            collection.live.upsert(**_batch(collection, value))
        case "defer":
            collection.live.upsert(**_batch(collection, value, defer=True))
        case "complete":
            with collection.catalog.reading() as view:
                numbers = [view.by_id(id).number for id in value]
            terms = terms_of([*value.values()], collection.schema.terms)
            tokens = concatenate([document(seed, collection.dim) for seed in value.values()])
            collection.live.complete(np.array(numbers, np.int64), tokens, terms)
        case "delete":
            collection.live.delete(value)
        case "delete_where":
            collection.live.delete_where(Range("n", gte=value % 60, lt=value % 60 + 6))
        case "update_payload":
            collection.live.update_payload(*value)
        case "seal":
            collection.seal()
        case "compact":
            collection.compact(retrain=value % 3 == 0)
        case "merge":
            numbers = [row["number"] for row in collection.stats()["segments"]]
            _ = collection.live  # takes the lock
            collection.maintenance.merge(numbers if value % 2 else numbers[-2:])
        case "snapshot":
            create_snapshot(collection.path, snapshot_folder(collection.path, value))
        case _:
            with collection.builder() as builder:
                if name == "add":
                    builder.add(**_batch(collection, value))
                else:
                    getattr(builder, name)()


def snapshot_folder(collection: Path, seed: int) -> Path:
    return collection.with_name(f"snapshot-{seed}")


def _batch(collection: Collection, documents: Documents, defer: bool = False) -> dict[str, Any]:
    """What a write takes, with terms where the collection has them."""
    seeds = [seed for seed, _ in documents.values()]
    made = [keyed(seed) if collection.vector else document(seed, collection.dim) for seed in seeds]
    return {
        "ids": list(documents),
        "tokens": None if defer else concatenate(made),
        "payloads": [payload for _, payload in documents.values()],
        "terms": terms_of(seeds, collection.schema.terms),
        **({"defer": True} if defer else {}),
    }


def prepare(path: Path, store: str, staged: bool, terms: Kept = None, vector: int = 0) -> Contents:
    """Two segments with dead documents in both, fresh documents with dead ones among
    them; perhaps a build half done."""
    batch = [{f"{name}{i}": (10 * s + i, {"n": i, "id": ""}) for i in range(6)} for s, name in enumerate("aab")]
    operations: list[Operation] = [("upsert", batch[0]), ("seal", None), ("add", batch[2]), ("publish", None)]
    operations += [
        ("upsert", dict(list(batch[1].items())[:3])),
        ("delete", ["b1", "a5"]),
        ("upsert", {"a1": (77, {"n": 7})}),
    ]
    if staged:
        operations += [("add", {"s1": (31, {"n": 1}), "s2": (44, {"n": 2})}), ("add", {"s3": (38, {"n": 3})})]
    contents = Contents()
    Collection.create(path, DIM, store, fields=["n"], terms=terms, vector=vector).close()
    with Collection(path, threads=1) as collection:
        for operation in operations:
            perform(collection, operation)
            contents = after(contents, operation)
    return contents


def held(view: View) -> Contents:
    """The contents as read, without the seeds of tokens."""
    documents = {d.id: (0, d.payload) for d in view.page("", 1000)}
    return Contents(documents, dict.fromkeys(view.staged_ids(), (0, {})))


def unseeded(contents: Contents) -> Contents:
    documents = {id: (0, payload) for id, (_, payload) in contents.documents.items()}
    return Contents(documents, dict.fromkeys(contents.staged, (0, {})))


def assert_holds(path: Path, allowed: list[Contents]) -> Contents:
    """The collection holds exactly one of these: ids, payloads, tokens, a ranking equal to brute force."""
    assert check_collection(path) == []
    with Collection(path) as collection, collection.snapshot() as snapshot:
        found = held(snapshot.view)
        # The latter of two that read alike (same payloads, other tokens) is told apart by the tokens.
        alike = [c for c in allowed if unseeded(c) == found and list(c.staged) == snapshot.view.staged_ids()]
        assert alike, f"holds {found}, allowed {allowed}"
        stored = {id: snapshot.tokens(snapshot.view.by_id(id).number).vectors for id in found.documents}
        right = [
            c
            for c in alike
            if all(same_tokens(collection, stored[i], s) for i, (s, _) in c.documents.items())
            and same_terms(collection, snapshot, c.documents)
            and same_vectors(snapshot, c.documents)
        ]
        assert right, f"tokens or terms of {found} are others than those of {alike}"
        query = asked(collection.dim)
        (hits,) = snapshot.search(query, 999, params=EVERYTHING)
        scores = {id: oracle.maxsim(query.vectors, vectors) for id, vectors in stored.items()}
        numbers = {d.number: scores[d.id] for d in snapshot.documents(hits.docs)}
        assert len(hits) == sum(score > -np.inf for score in scores.values())
        oracle.same_ranking(hits, numbers, 999, 1e-4)
        if collection.vector:
            assert_coil(snapshot, {id: seed for id, (seed, _) in right[-1].documents.items()})
    return right[-1]


def same_tokens(collection: Collection, stored: np.ndarray, seed: int) -> bool:
    """The stored vectors are those of the document, as nearly as the collection's precision can hold them."""
    wanted, least = document(seed, collection.dim).vectors, ALIKE[collection.schema.precision.partition(":")[0]]
    if least == 1:
        return np.array_equal(stored, wanted)
    if stored.shape != wanted.shape:
        return False
    a, b = (
        v.astype(np.float64) / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True) for v in (stored, wanted)
    )
    return bool((np.einsum("td,td->t", a, b) >= least).all())


def assert_coil(snapshot: Snapshot, documents: dict[str, int]) -> None:
    """Rankings by COIL and by global vectors are those of brute force over documents by id and seed."""
    assert KEYED_QUERY.globals_ is not None
    numbers = {id: snapshot.view.by_id(id).number for id in documents}
    wanted = {numbers[id]: oracle.coil(KEYED_QUERY, keyed(seed)) for id, seed in documents.items()}
    products = {numbers[id]: oracle.product(KEYED_QUERY, keyed(seed)) for id, seed in documents.items()}
    for k in (2, 99):
        (hits,) = snapshot.search(KEYED_QUERY, k, COIL)
        oracle.same_ranking(hits, {d: s for d, s in wanted.items() if s is not None}, k, 1e-5)
        (hits,) = snapshot.search_vectors(KEYED_QUERY.globals_, k)
        oracle.same_ranking(hits, products, k, 1e-5)


def same_vectors(snapshot: Snapshot, documents: Documents) -> bool:
    """The stored ids and global vectors are those of the documents; or the collection has none."""
    for id, (seed, _) in documents.items():
        stored, wanted = snapshot.tokens(snapshot.view.by_id(id).number), keyed(seed)
        assert wanted.globals_ is not None and wanted.ids is not None
        if stored.globals_ is not None and not np.array_equal(stored.globals_, wanted.globals_):
            return False
        if stored.ids is not None and not np.array_equal(stored.ids, wanted.ids):
            return False
    return True


def same_terms(collection: Collection, snapshot: Snapshot, documents: Documents) -> bool:
    """The stored terms are those of the documents, to the last bit; or the collection has none."""
    pairs = [
        (snapshot.terms(snapshot.view.by_id(i).number, name), sparse(s + offset(name), field))
        for name, field in collection.schema.terms.items()
        for i, (s, _) in documents.items()
    ]
    columns = "indptr", "indices", "data"
    return all(np.array_equal(getattr(a.rows, c), getattr(b.rows, c)) for a, b in pairs for c in columns)


def dense(terms: Terms) -> np.ndarray:
    """(rows, KEYS) float64."""
    rows = terms.rows
    out = np.zeros((rows.shape[0], len(KEYS)))
    for row in range(len(out)):
        for at in range(rows.indptr[row], rows.indptr[row + 1]):
            out[row, KEYS.tolist().index(int(rows.indices[at]))] = rows.data[at]
    return out


def write(dim: int, kept: Kept, seeds: list[int], vector: int = 0) -> dict[str, Any]:
    """The representations of documents, as `add` and `upsert` take them."""
    made = [keyed(seed, dim) if vector else document(seed) for seed in seeds]
    tokens = concatenate(made) if dim or vector else None
    return {"tokens": tokens, "terms": terms_of(seeds, kept)}


def filled(path: Path, field: TermField = TermField(), dim: int = DIM) -> Collection:
    """One segment sealed, one built in bulk, fresh documents, a dead one in each."""
    collection = Collection.create(path, dim, terms=field)
    collection.live.upsert([f"a{i}" for i in range(7)], **write(dim, field, list(range(7))))
    collection.seal()
    with collection.builder() as builder:
        builder.add([f"b{i}" for i in range(7)], **write(dim, field, list(range(10, 17))))
        builder.publish()
    collection.live.upsert([f"c{i}" for i in range(7)], **write(dim, field, list(range(20, 27))))
    collection.live.delete(["a2", "b3", "c4"])
    return collection
