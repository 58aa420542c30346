"""Terms in a collection against a dictionary and brute force, through any order of
writes, seals, merges and reopenings."""

from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from life import (
    DIM,
    FIELDS,
    KEYED_QUERY,
    KEYS,
    PER_TOKEN,
    QUERY,
    VECTOR,
    assert_coil,
    dense,
    document,
    filled,
    keyed,
    offset,
    sparse,
    write,
)
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.errors import InvalidArgument, NotFound
from plait.index.filters.sql import Range
from plait.index.reading.backup import create_snapshot, restore_snapshot
from plait.index.reading.check import check_collection
from plait.index.terms import TERMS, Terms
from plait.index.tokens import concatenate
from plait.index.writing.maintenance import Policy
from scipy.sparse import csr_array

IDS = st.sampled_from("abcdefgh")


def expected(query: Terms, terms: Terms) -> float | None:
    """sum_i max_j q_i . d_j; None where no key is shared."""
    q, d = dense(query), dense(terms)
    if not (q.any(axis=0) & d.any(axis=0)).any():
        return None
    return float((q @ d.T).max(axis=1).sum())


def query(per_token: bool) -> Terms:
    """Three rows of different lengths, or one of all keys but two."""
    weights = np.random.default_rng(5).standard_normal(len(KEYS) - 2).astype(np.float32)
    starts = [0, 1, 1, len(weights)] if per_token else [0, len(weights)]
    rows = csr_array((weights, KEYS[1:-1], starts), shape=(len(starts) - 1, 1 << 32))
    return Terms(rows, np.array([0, len(starts) - 1]) if per_token else None)


class Model(RuleBasedStateMachine):
    """The collection beside a dictionary of id to the seed of its terms and tokens; its payload is {"n": seed}."""

    folders: pytest.TempPathFactory

    @initialize(
        dim=st.sampled_from([0, DIM]),
        kept=st.sampled_from([TermField(), PER_TOKEN, FIELDS]),
        vector=st.sampled_from([0, VECTOR]),
    )
    def create(self, dim: int, kept: TermField | dict[str, TermField], vector: int) -> None:
        self.path = self.folders.mktemp("terms") / "c"
        self.kept, self.dim, self.vector = kept, dim, vector
        self.fields = {TERMS: kept} if isinstance(kept, TermField) else kept
        store = "contextual" if dim and vector else "auto"
        self.collection = Collection.create(self.path, dim, store, fields=["n"], terms=kept, vector=vector)
        self.model: dict[str, int] = {}

    @rule(batch=st.dictionaries(IDS, st.integers(0, 60), min_size=1, max_size=4))
    def upsert(self, batch: dict[str, int]) -> None:
        written = write(self.dim, self.kept, list(batch.values()), self.vector)
        self.collection.live.upsert(list(batch), payloads=[{"n": seed} for seed in batch.values()], **written)
        self.model |= batch

    @rule(ids=st.lists(IDS, max_size=3, unique=True))
    def delete(self, ids: list[str]) -> None:
        self.collection.live.delete(ids)
        self.model = {id: seed for id, seed in self.model.items() if id not in ids}

    @rule(ids=st.lists(st.sampled_from("ijkl"), min_size=1, max_size=3, unique=True), seed=st.integers(0, 60))
    def bulk(self, ids: list[str], seed: int) -> None:
        new = {id: seed + i for i, id in enumerate(ids) if id not in self.model}
        with self.collection.builder() as builder:
            for id, own in new.items():
                builder.add([id], payloads=[{"n": own}], **write(self.dim, self.kept, [own], self.vector))
            builder.publish()
        self.model |= new

    @rule()
    def seal(self) -> None:
        self.collection.seal()

    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        numbers = [row["number"] for row in self.collection.stats()["segments"]]
        _ = self.collection.live  # takes the lock
        self.collection.maintenance.merge(data.draw(st.lists(st.sampled_from(numbers), unique=True)) if numbers else [])

    @rule()
    def compact(self) -> None:
        self.collection.compact()

    @rule()
    def reopen(self) -> None:
        self.collection.close()
        self.collection = Collection(self.path)

    @rule()
    def back_up_and_restore(self) -> None:
        copy = self.path.with_name(f"{self.path.name}-{len(list(self.path.parent.iterdir()))}")
        create_snapshot(self.path, copy)
        self.collection.close()
        self.path = copy.with_name(copy.name + "-restored")
        restore_snapshot(copy, self.path)
        self.collection = Collection(self.path)

    @invariant()
    def equals_the_dictionary(self) -> None:
        if not hasattr(self, "model"):
            return
        for per_token in (False, True):
            for name in self.fields:
                self.assert_answers(query(per_token), name)
        with self.collection.snapshot() as snapshot:
            if self.dim and self.vector:
                assert_coil(snapshot, self.model)
            for name in self.fields if self.vector else ():
                self.assert_sums(snapshot, name)

    def terms_of(self, seed: int, name: str) -> Terms:
        return sparse(seed + offset(name), self.fields[name])

    def assert_sums(self, snapshot: Any, name: str) -> None:
        """Sparse score and product of global vectors, of all documents; without a common key the former is 0."""
        asked = query(False)
        scores = {}
        for id, seed in self.model.items():
            product = oracle.product(KEYED_QUERY, keyed(seed))
            scores[snapshot.view.by_id(id).number] = (expected(asked, self.terms_of(seed, name)) or 0) + product
        for k in (1, 99):
            (hits,) = snapshot.search_added(asked, KEYED_QUERY.globals_, k, field=name)
            oracle.same_ranking(hits, scores, k, 1e-5)

    def assert_answers(self, asked: Terms, name: str) -> None:
        scores = {id: expected(asked, self.terms_of(seed, name)) for id, seed in self.model.items()}
        with self.collection.snapshot() as snapshot:
            numbers = {id: snapshot.view.by_id(id).number for id in self.model}
            for limit, filter in ((99, None), (20, Range("n", lt=20))):
                wanted = {numbers[i]: s for i, s in scores.items() if s is not None and self.model[i] < limit}
                (hits,) = snapshot.search_terms(asked, 99, filter, field=name)
                assert sorted(wanted) == sorted(hits.docs.tolist())
                oracle.same_ranking(hits, wanted, 99, 1e-6)
                assert list(zip(-hits.scores, hits.docs, strict=True)) == sorted(
                    zip(-hits.scores, hits.docs, strict=True)
                )
                (few,) = snapshot.search_terms(asked, 2, filter, field=name)
                assert few.docs.tolist() == hits.docs[:2].tolist()
            given = snapshot.score_terms(asked, list(numbers.values()), field=name)
            np.testing.assert_allclose(given, [scores[id] or 0 for id in numbers], rtol=0, atol=1e-6)
            self.assert_explained(snapshot, asked, numbers, name)
            self.assert_statistics(snapshot, name)

    def assert_explained(self, snapshot: Any, asked: Terms, numbers: dict[str, int], name: str) -> None:
        for id, number in numbers.items():
            got, wanted = snapshot.terms(number, name), self.terms_of(self.model[id], name)
            for column in ("indptr", "indices", "data"):
                np.testing.assert_array_equal(getattr(got.rows, column), getattr(wanted.rows, column))
            match = snapshot.explain_terms(asked, number, field=name)
            np.testing.assert_allclose(match.score, match.contributions.sum(), rtol=1e-6)
            np.testing.assert_allclose(
                match.score, snapshot.score_terms(asked, [number], field=name)[0], rtol=1e-6, atol=1e-9
            )
            rows = {"query": (asked.rows, match.query_rows), "document": (wanted.rows, match.document_rows)}
            for side, (held, lines) in rows.items():
                for key, line, weight in zip(match.keys, lines, getattr(match, f"{side}_weights"), strict=True):
                    assert weight == held[[int(line)], [int(key)]][0]

    def assert_statistics(self, snapshot: Any, name: str) -> None:
        held = [dense(self.terms_of(seed, name)) for seed in self.model.values()]
        found = snapshot.term_statistics([*KEYS[::-1], 5], name)
        counts = [sum(d[:, k].any() for d in held) for k in reversed(range(len(KEYS)))]
        assert found.frequencies.tolist() == [*counts, 0]
        assert found.documents == len(held)
        np.testing.assert_allclose(found.weight, sum(d.sum() for d in held), atol=1e-9)
        counted = {field["name"]: field["weights"] for field in self.collection.stats()["term_fields"]}
        assert counted[name] == sum(int((d != 0).sum()) for d in held)

    def teardown(self) -> None:
        if hasattr(self, "collection"):
            self.collection.close()
            assert check_collection(self.path) == []


def test_any_sequence_equals_a_dictionary(tmp_path_factory: pytest.TempPathFactory) -> None:
    Model.folders = tmp_path_factory
    from hypothesis.stateful import run_state_machine_as_test

    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=20,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=checks,
            phases=[Phase.explicit, Phase.generate],
        ),
    )


@pytest.mark.parametrize("field", [TermField(), PER_TOKEN])
def test_scores_do_not_depend_on_segments(tmp_path: Path, field: TermField) -> None:
    """To the last bit, before and after everything is merged into one."""
    collection = filled(tmp_path, field)
    asked = query(field.per_token)

    def answer() -> tuple[list[int], list[float]]:
        with collection.snapshot() as snapshot:
            (hits,) = snapshot.search_terms(asked, 99)
            return hits.docs.tolist(), hits.scores.tolist()

    before = answer()
    collection.compact()
    assert answer() == before and len(before[0]) > 8


@pytest.mark.parametrize("store", ["exact", "flat:8", "lists:8"])
def test_candidates_get_exact_maxsim(tmp_path: Path, store: str) -> None:
    collection = Collection.create(tmp_path, DIM, store, terms=True)
    seeds = list(range(12))
    collection.live.upsert([str(s) for s in seeds[:8]], **write(DIM, TermField(), seeds[:8]))
    collection.seal()
    collection.live.upsert([str(s) for s in seeds[8:]], **write(DIM, TermField(), seeds[8:]))
    collection.live.delete(["3", "9"])
    with collection.snapshot() as snapshot:
        living = [s for s in [11, 0, 8, 7, 0, 5, 1] if s not in (3, 9)]
        numbers = [snapshot.view.by_id(str(s)).number for s in living]
        wanted = [oracle.maxsim(QUERY.vectors, document(s).vectors) for s in living]
        np.testing.assert_allclose(snapshot.score_tokens(QUERY, numbers), wanted, atol=1e-5)
        assert -np.inf in wanted and snapshot.score_tokens(QUERY, []).shape == (0,)
        for dead in (3, 9, 99):
            with pytest.raises(NotFound, match=f"number {dead}"):
                snapshot.score_tokens(QUERY, [0, dead])
            with pytest.raises(NotFound, match=f"number {dead}"):
                snapshot.score_terms(query(False), [dead, 0])
        with pytest.raises(InvalidArgument, match="2 queries"):
            snapshot.score_tokens(QUERY.take([0, 0]), [0])


def test_terms_alone(tmp_path: Path) -> None:
    """Sealing and merging go by term weights where there are no tokens to count."""
    Collection.create(tmp_path, 0, terms=True).close()
    with Collection(tmp_path) as collection:
        maintenance, policy = collection.maintenance, Policy(seal_tokens=5, seal_age_s=1e9, fanout=2)
        weights = 0
        for seed in range(20):
            weights += sparse(seed, TermField()).rows.nnz
            collection.live.upsert([str(seed)], **write(0, TermField(), [seed]))
            while maintenance.step(policy):
                pass
        stats = collection.stats()
        assert stats["term_weights"] == weights and stats["tokens"] == 0
        assert 0 < len(stats["segments"]) <= 4 and stats["fresh"] < 6
        assert stats["bytes"]["term_keys"] == stats["bytes"]["term_weights"] > 0 and "vectors" not in stats["bytes"]
        with collection.snapshot() as snapshot:
            for ask in (lambda: snapshot.search(QUERY, 3), lambda: snapshot.score_tokens(QUERY, [0])):
                with pytest.raises(InvalidArgument, match="terms alone"):
                    ask()
    assert check_collection(tmp_path) == []


def changed(terms: Terms, value: float) -> Terms:
    rows = terms.rows.copy()
    rows.data[-1] = value
    return Terms(rows, terms.offsets)


def test_what_does_not_fit_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    field = TermField(keys=2000)
    small = csr_array(np.eye(2, 2000, dtype=np.float32))
    two, plain = {"tokens": concatenate([document(3), document(4)]), "terms": Terms(small)}, Terms(small)
    both = Collection.create(tmp_path / "both", DIM, terms=field)
    alone = Collection.create(tmp_path / "alone", 0, terms=field)
    none = Collection.create(tmp_path / "none", DIM)
    per_token = Collection.create(tmp_path / "per_token", 0, terms=PER_TOKEN)
    large = csr_array((np.ones(1, np.float32), [2000], [0, 0, 1]), shape=(2, 1 << 32))
    for collection, given, message in (
        (both, {**two, "terms": None}, "give terms"),
        (both, {**two, "tokens": None}, "give tokens"),
        (both, {**two, "terms": changed(plain, np.nan)}, "NaN"),
        (both, {**two, "terms": plain.take([0])}, "terms of 1 documents"),
        (both, {**two, "terms": Terms(large)}, "key 2000 lies outside"),
        (both, {**two, "terms": Terms(small, np.array([0, 1, 2]))}, "a row for each document"),
        (alone, two, "terms alone"),
        (none, two, "holds no terms"),
        (per_token, {**two, "tokens": None}, "rows for each token"),
    ):
        good = {"tokens": None if not collection.dim else two["tokens"], "terms": plain}
        if collection is none:
            good = {"tokens": two["tokens"]}
        if collection is per_token:
            good["terms"] = Terms(small, np.array([0, 2, 2]))
        with pytest.raises(InvalidArgument, match=message):
            collection.live.upsert(["x", "y"], **given)
        with collection.builder() as builder:
            builder.add([f"{message} 1", f"{message} 2"], **good)
            with pytest.raises(InvalidArgument, match=message):
                builder.add(["x", "y"], **given)
            builder.publish()
        collection.live.upsert([f"{message} 3", f"{message} 4"], **good)
    assert [len(c) for c in (both, alone, none, per_token)] == [24, 4, 4, 4]
    with none.snapshot() as snapshot, pytest.raises(InvalidArgument, match="holds no terms"):
        snapshot.search_terms(query(False))
    with both.snapshot() as snapshot, pytest.raises(InvalidArgument, match=r"outside of the key space, 0 to 1999"):
        snapshot.search_terms(query(False))
    for dim, store, terms, message in ((0, "exact", False, "dim is 0"), (0, "flat", True, "for token vectors")):
        with pytest.raises(InvalidArgument, match=message):
            Collection.create(tmp_path / "new", dim, store, terms=terms)
    for collection in (both, alone, none, per_token):
        collection.close()
        assert check_collection(collection.path) == []
