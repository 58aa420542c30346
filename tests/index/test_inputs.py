"""What callers give is checked at every door, here and over a server, with the same words;
what is refused changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
from served import serving

HALF = "moon \ud83d"
DEEP: Any = "end"
for _ in range(40):
    DEEP = [DEEP]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """A collection with text here, and one on a server."""
    root = tmp_path_factory.mktemp("root")
    with serving(root) as process, plait.connect(process.target) as server:
        there = server.create("texts", terms="bm25")
        with plait.create(tmp_path_factory.mktemp("here") / "c", terms="bm25") as here:
            for index in (here, there):
                index.add([{"id": "a", "text": "moon and tides"}])
            yield here, there


def told(call: Callable[[], Any]) -> str:
    with pytest.raises(plait.InvalidArgument) as error:
        call()
    return str(error.value)


CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "text": (lambda i: i.upsert([{"id": "s", "text": HALF}]), "the text of document 's' holds half a surrogate pair"),
    "text in bulk": (lambda i: i.add([{"id": "s", "text": HALF}]), "the text of document 's' holds half"),
    "title": (lambda i: i.upsert([{"id": "s", "text": "x", "title": HALF}]), "the title of document 's' holds half"),
    "title, a number": (lambda i: i.upsert([{"id": "s", "text": "x", "title": 5}]), "title of document 's' is 5"),
    "id": (lambda i: i.upsert([{"id": HALF, "text": "moon"}]), "the id 'moon \\ud83d' holds half"),
    "payload": (lambda i: i.upsert([{"id": "s", "text": "x", "tags": ["b", HALF]}]), "a text with half a surrogate pair (U+D83D at character 5) at tags[1]"),
    "payload in bulk": (lambda i: i.add([{"id": "s", "text": "x", "tags": ["b", HALF]}]), "at tags[1]"),
    "key": (lambda i: i.upsert([{"id": "s", "text": "x", HALF: 1}]), "has the key 'moon \\ud83d', with half"),
    "patch": (lambda i: i.update_payload("a", {"note": HALF}), "payload of document 'a' holds a text with half"),
    "patch, id": (lambda i: i.update_payload(HALF, {"note": 1}), "the id 'moon \\ud83d' holds half"),
    "deep": (lambda i: i.upsert([{"id": "s", "text": "x", "tree": DEEP}]), "document 's' is nested too deep at tree[0]"),
    "deep in bulk": (lambda i: i.add([{"id": "s", "text": "x", "tree": DEEP}]), "document 's' is nested too deep at tree[0]"),
    "deep patch": (lambda i: i.update_payload("a", {"tree": DEEP}), "document 'a' is nested too deep at tree[0]"),
    "integer": (lambda i: i.upsert([{"id": "s", "text": "x", "n": 2**64}]), "document 's' holds the integer 18446744073709551616 at n"),
    "integer in bulk": (lambda i: i.add([{"id": "s", "text": "x", "n": 2**64}]), "document 's' holds the integer 18446744073709551616 at n"),
    "integer patch": (lambda i: i.update_payload("a", {"n": 2**64}), "document 'a' holds the integer 18446744073709551616 at n"),
    "NaN": (lambda i: i.upsert([{"id": "s", "text": "x", "n": float("nan")}]), "document 's' holds nan at n"),
    "key, no text": (lambda i: i.upsert([{"id": "s", "text": "x", "n": {1: 2}}]), "has the key 1 at n; keys are text"),
    "long id": (lambda i: i.upsert([{"id": "s" * 5000, "text": "x"}]), "5,000 characters; ids have up to 4,096"),
    "query": (lambda i: i.search(HALF), "query 0 holds half a surrogate pair (U+D83D at character 5)"),
    "queries": (lambda i: i.search(["moon", HALF], mode="terms"), "query 1 holds half"),
    "encode": (lambda i: i.encode([HALF]), "query 0 holds half"),
    "filter": (lambda i: i.search("moon", filter={"a": HALF}), "text must be Unicode"),
    "filter field": (lambda i: i.count({HALF: 1}), "is no field"),
    "get": (lambda i: i.get([HALF]), "the id 'moon \\ud83d' holds half"),
    "delete": (lambda i: i.delete([HALF]), "the id 'moon \\ud83d' holds half"),
    "explain": (lambda i: i.explain("moon", HALF), "the id 'moon \\ud83d' holds half"),
    "explain, query": (lambda i: i.explain(HALF, "a"), "query 0 holds half"),
    "page": (lambda i: i.list_documents(after=HALF), "the id 'moon \\ud83d' holds half"),
    "one document": (lambda i: i.add({"id": "s", "text": "x"}), "give a list of documents, dicts such as {'id': 'a', 'text': '...'}; got dict"),
    "one text": (lambda i: i.upsert("moon"), "give a list of documents, dicts such as {'id': 'a', 'text': '...'}; got str 'moon'"),
    "texts": (lambda i: i.upsert(["moon"]), "a document is a dict such as {'id': 'a', 'text': '...'}; got str 'moon'"),
    "no documents": (lambda i: i.add(None), "give a list of documents"),
    "no text": (lambda i: i.add([{"id": "s"}]), "document 's' needs 'text' as text; it has None"),
    "number as id": (lambda i: i.upsert([{"id": 5, "text": "x"}]), "a document needs 'id' as text; this one has 5"),
    "no query": (lambda i: i.search(None), "a query must be text, several texts, Tokens or Queries; got NoneType None"),
    "number as query": (lambda i: i.search(["moon", 5]), "a query must be text, got int 5 as query 1"),
    "dict as query": (lambda i: i.search({"text": "moon"}), "a query must be text, several texts, Tokens or Queries; got dict"),
    "k as text": (lambda i: i.search("moon", k="5"), "k is '5'; it must be a whole number"),
    "k as float": (lambda i: i.explain("moon", "a", k=2.0), "k is 2.0; it must be a whole number"),
    "one id to delete": (lambda i: i.delete("asyncio.run"), "ids must be a list of ids, got 'asyncio.run'"),
    "number as id to get": (lambda i: i.get([5]), "the id 5 is no text"),
    "vector for nothing": (lambda i: i.upsert([{"id": "s", "text": "x", "vector": [0.5, 1]}]), "document 's' has a vector, and this collection was not made for given vectors"),
    "vector for nothing, in bulk": (lambda i: i.add([{"id": "s", "text": "x", "vector": [0.5, 1]}]), "document 's' has a vector"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_one_error_here_and_there(both: tuple[Any, Any], name: str) -> None:
    call, words = CALLS[name]
    here, there = (told(lambda index=index: call(index)) for index in both)
    assert words in here and words in there
    assert [index.count() for index in both] == [1, 1]
    assert all(index.get(["a"]) == [{"id": "a", "text": "moon and tides"}] for index in both)


def test_creation_is_checked(tmp_path: Path) -> None:
    encoder: Any
    for encoder in (len, 5, object()):
        assert "encoder is" in told(lambda encoder=encoder: plait.create(tmp_path / "c", encoder=encoder))
        assert "encoder is" in told(lambda encoder=encoder: plait.load_encoder(encoder))
    assert not (tmp_path / "c").exists()


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """A collection of given token vectors and a global vector here, and one on a server."""
    root = tmp_path_factory.mktemp("arrays")
    made = {"encoder": None, "dim": 4, "vector": 3}
    with serving(root) as process, plait.connect(process.target) as server:
        there = server.create("arrays", **made)
        with plait.create(tmp_path_factory.mktemp("here") / "c", **made) as here:
            for index in (here, there):
                index.upsert_tokens(["a", "b"], good())
            yield here, there


def good() -> plait.Tokens:
    rng = np.random.default_rng(1)
    tokens = plait.from_matrices([rng.random((2, 4), np.float32), rng.random((1, 4), np.float32)])
    return replace(tokens, globals_=rng.random((2, 3), np.float32))


BAD: dict[str, tuple[Callable[[plait.Tokens], Any], str]] = {
    "falling offsets": (lambda t: replace(t, offsets=np.array([0, 5, 3])), "offsets fall at document 1"),
    "offsets far away": (lambda t: replace(t, offsets=np.array([0, 2, 2**40])), "offsets must run from 0 to 3"),
    "negative offsets": (lambda t: replace(t, offsets=np.array([0, -5, 3])), "offsets fall at document 0"),
    "fractions as offsets": (lambda t: replace(t, offsets=np.array([0, 1.5, 3])), "offsets must be whole numbers"),
    "offsets in a square": (lambda t: replace(t, offsets=np.array([[0, 2, 3]])), "offsets must be whole numbers"),
    "objects": (lambda t: replace(t, vectors=np.array([[None] * 4] * 3)), "float32 or float16"),
    "doubles": (lambda t: replace(t, vectors=t.vectors.astype(np.float64)), "float32 or float16"),
    "a single row": (lambda t: replace(t, vectors=t.vectors[0]), "vectors must be (n, dim)"),
    "NaN": (lambda t: t.with_vectors(np.full((3, 4), np.nan, np.float32)), "document 0 has NaN or infinity in token 0"),
    "large": (lambda t: t.with_vectors(np.full((3, 4), 1e30, np.float32)), "65504"),
    "negative ids": (lambda t: replace(t, ids=np.array([1, 2, -3])), "ids must be whole numbers from 0 to 4294967295"),
    "fractions as ids": (lambda t: replace(t, ids=np.array([1, 2, 3.5])), "ids must be whole numbers"),
    "few ids": (lambda t: replace(t, ids=np.zeros(2, np.uint32)), "ids has 2 entries for 3 vectors"),
    "roles": (lambda t: replace(t, roles=np.array([0, 1, 99], np.uint8)), "roles must be whole numbers from 0 to 7"),
    "spans": (lambda t: replace(t, spans=np.zeros((3, 3), np.uint32)), "spans has 3 entries"),
    "span offsets": (
        lambda t: replace(t, spans=np.zeros((3, 2), np.uint32), span_offsets=np.array([0, 9, 2, 3])),
        "span_offsets fall at row 1",
    ),
    "span offsets alone": (lambda t: replace(t, span_offsets=np.array([0, 1, 2, 3])), "give both or neither"),
    "few vectors": (lambda t: replace(t, globals_=np.zeros((1, 3), np.float32)), "globals_ has 1 rows for 2"),
    "no array": (lambda t: list(t.vectors), "expected Tokens, got list"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_tokens_are_refused_at_every_door(arrays: tuple[Any, Any], name: str) -> None:
    damage, words = BAD[name]
    bad = damage(good())
    for index in arrays:
        doors: list[Callable[[], Any]] = [
            lambda index=index: index.upsert_tokens(["x", "y"], bad),
            lambda index=index: index.add_tokens(["x", "y"], bad),
        ]
        if isinstance(bad, plait.Tokens):
            doors += [
                lambda index=index: index.search(bad),
                lambda index=index: index.search(plait.Queries(bad), mode="hybrid"),
                lambda index=index: index.explain(bad, "a"),
                lambda index=index: index.calibrate(bad),
            ]
        for door in doors:
            assert words in told(door)
        assert index.count() == 2


def test_arrays_in_pieces_are_taken(arrays: tuple[Any, Any]) -> None:
    """Views with strides, other byte orders of offsets, lists: the same answer as from arrays in one piece."""
    whole = good()
    wide = np.zeros((6, 8), np.float32)
    wide[::2, ::2] = whole.vectors
    strided = replace(whole, vectors=wide[::2, ::2], offsets=whole.offsets.astype(">i4"))
    for index in arrays:
        wanted, found = (
            [[(hit.id, hit.score) for hit in hits] for hits in index.search(t, mode="tokens")] for t in (whole, strided)
        )
        assert found == wanted


CSR: dict[str, tuple[Callable[[], Any], str]] = {
    "falling": (lambda: csr([0, 10**6, 6]), "indptr fall at row 1"),
    "not from 0": (lambda: csr([3, 4, 6]), "indptr must run from 0"),
    "beyond the end": (lambda: csr([0, 3, 10**9]), "indptr must run from 0 to 6"),
    "short": (lambda: csr([0, 6]), "indptr has shape (2,); 2 rows need 3 entries"),
    "fractions": (lambda: csr([0.0, 3.0, 6.0]), "indptr must be whole numbers"),
    "key outside": (lambda: csr([0, 3, 6], indices=[0, 1, 2, 3, 4, 10**6]), "row 1 has the key 1000000, outside of the key space"),
    "negative key": (lambda: csr([0, 3, 6], indices=[0, -1, 2, 3, 4, 5]), "row 0 has the key -1, outside"),
    "few keys": (lambda: csr([0, 3, 6], indices=[0, 1]), "one number for each key"),
    "fractions as keys": (lambda: csr([0, 3, 6], indices=[0.5, 1, 2, 3, 4, 5]), "keys are whole numbers"),
    "objects": (lambda: csr([0, 3, 6], data=[None] * 6), "one number for each key"),
    "NaN": (lambda: csr([0, 3, 6], data=[np.nan] * 6), "row 0 has NaN"),
    "columns": (lambda: sparse.csc_array(np.eye(2, 100, dtype=np.float32)), "give scipy.sparse.csr_array"),
    "dense": (lambda: np.eye(2, 100, dtype=np.float32), "give scipy.sparse.csr_array"),
}  # fmt: skip


def csr(indptr: list[Any], indices: list[Any] | None = None, data: list[Any] | None = None) -> Any:
    """A CSR array as a damaged file may hold it: SciPy's own constructor is not asked."""
    made: Any = sparse.csr_array((2, 100), dtype=np.float32)
    made.data = np.array([1.0] * 6 if data is None else data)
    made.indices, made.indptr = np.array(range(6) if indices is None else indices), np.array(indptr)
    return made


@pytest.fixture(scope="module")
def sparse_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from plait.index.catalog.schema import TermField
    from plait.index.collection import Collection

    with Collection.create(tmp_path_factory.mktemp("sparse") / "c", 0, terms=TermField(keys=100)) as collection:
        collection.live.upsert(["a", "b"], None, terms=plait.Terms(sparse.csr_array(np.eye(2, 100, dtype=np.float32))))
        yield collection


@pytest.mark.parametrize("name", CSR)
def test_damaged_rows_are_refused_before_scipy_sees_them(sparse_index: Any, name: str) -> None:
    damage, words = CSR[name]
    bad = plait.Terms(damage())
    with sparse_index.snapshot() as snapshot:
        for door in (
            lambda: sparse_index.live.upsert(["x", "y"], None, terms=bad),
            lambda: snapshot.search_terms(bad),
        ):
            assert words in told(door)
        assert snapshot.view.count() == 2


@pytest.mark.parametrize("name", [name for name in CSR if name != "dense"])
def test_damaged_rows_are_refused_in_queries(both: tuple[Any, Any], name: str) -> None:
    damage, words = CSR[name]
    for index in both:
        assert words in told(lambda index=index: index.search(plait.Queries(terms=plait.Terms(damage())), mode="terms"))


def test_vectors_alone_need_no_text(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    made = {"encoder": None, "vector": 3}
    with (
        serving(root) as process,
        plait.connect(process.target) as server,
        plait.create(tmp_path / "c", **made) as here,
    ):
        for index in (here, server.create("vectors", **made)):
            index.add([{"id": "a", "vector": [1.0, 0, 0], "year": 2020}, {"id": "b", "vector": [0, 1.0, 0]}])
            index.upsert([{"id": "c", "vector": [0, 0, 1.0], "text": "said"}])
            assert index.get(["a", "c"]) == [{"id": "a", "year": 2020}, {"id": "c", "text": "said"}]
            ((hit, *_),) = index.search(plait.from_vectors([0, 1.0, 0.5]), mode="vector")
            assert hit.id == "b" and hit.explain().vector_score == 1
            assert "needs 'vector', 3 numbers" in told(lambda index=index: index.add([{"id": "d", "vector": [1, 2]}]))


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (plait.from_matrices, [np.full((1, 2), np.nan)], "document 0 has NaN or infinity in token 0"),
        (plait.from_matrices, [np.zeros((1, 2)), np.full((1, 2), 1e300)], "document 1 has NaN or infinity in token 0"),
        (plait.from_matrices, [[["a", "b"]]], "document 0: list of .* is no array of numbers"),
        (plait.from_matrices, [[[1, 2], [3]]], "document 0: list is no array of numbers"),
        (plait.from_matrices, [None], "document 0: NoneType of object"),
        (plait.from_matrices, [np.zeros((1, 2), complex)], "complex128 is no array"),
        (plait.from_matrices, "text", "give a list of"),
        (plait.from_matrices, 5, "give a list of"),
        (plait.from_vectors, [[1.0, np.inf]], "vector 0 has NaN or infinity"),
        (plait.from_vectors, np.zeros((1, 1, 1)), "or one of them; got shape"),
        (plait.from_vectors, "text", "is no array of numbers"),
    ],
)
def test_what_is_no_vector_is_refused_at_once(make: Any, given: Any, message: str) -> None:
    with pytest.raises(plait.InvalidArgument, match=message):
        make(given)


def test_tensors_are_given_by_value() -> None:
    torch = pytest.importorskip("torch", reason="extra encoders is not installed")
    rows = torch.arange(6, dtype=torch.float32).reshape(3, 2) / 8
    for tensor in (
        rows,
        rows.bfloat16(),
        rows.clone().requires_grad_(),
        list(rows.bfloat16()),
        rows.T.contiguous().T,
        rows.half(),
    ):
        np.testing.assert_array_equal(plait.from_matrices([tensor]).vectors, rows.numpy())
        np.testing.assert_array_equal(plait.from_vectors(tensor).globals_, rows.numpy())
    assert plait.from_matrices([rows.half()]).vectors.dtype == np.float16
    kept = plait.from_matrices([rows])
    rows += 1
    assert kept.vectors[0, 0] == 0
