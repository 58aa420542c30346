"""Sparse encoders in half precision: nearly the same weights, in float32 as ever, and the same rankings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="extra encoders is not installed")
pytest.importorskip("sentence_transformers", reason="extra encoders is not installed")

import sparse_checkpoints as tiny  # noqa: E402
from plait.index.errors import InvalidArgument  # noqa: E402
from plait.index.terms import Terms  # noqa: E402
from plait.retrieval.encoders.encoder import EncoderOptions  # noqa: E402
from plait.retrieval.encoders.load import load_encoder  # noqa: E402
from plait.retrieval.models.forward import by_length  # noqa: E402
from plait.retrieval.sparse.encoder import BINARY, SparseOptions  # noqa: E402
from plait.retrieval.sparse.load import load_sparse_encoder  # noqa: E402
from test_coil_collections import coil  # noqa: E402
from test_sparse_encoders import modules, svdr  # noqa: E402
from torch.nn.modules.module import register_module_forward_hook  # noqa: E402
from transformers.models.bert.modeling_bert import BertLayer  # noqa: E402

import plait  # noqa: E402

TEXTS = [text for text in tiny.TEXTS if "[" not in text]
NEAR = {"float16": 6e-3, "bfloat16": 4e-2}
"""Of weights, by their root mean square: roundings to 11 and to 8 bits through two layers whose random weights are
larger than trained ones; the tiny models here have up to 0.004 and 0.027."""
QUERIES = ["what is the red planet", "mars rings", "venus", "the planet is red, red"]
CORPUS = [
    *tiny.TEXTS,
    "red mars",
    "a planet with rings",
    "venus and mars",
    "what is red",
    "rings of a red planet",
    "b c d e",
]


def masked(folder: Path) -> None:
    tiny.save_masked(folder, tiny.masked())


def one_weight(prefix: str, architecture: str) -> Callable[[Path], None]:
    """uniCOIL or TILDEv2 in which most tokens have a weight."""
    head = {f"{prefix}tok_proj.weight": tiny.random(1, 1, 32) / 4, f"{prefix}tok_proj.bias": torch.full((1,), 2.0)}
    body = tiny.under(f"{prefix}bert.", tiny.plain())
    return lambda folder: tiny.save(folder, {**body, **head}, [architecture])


def with_vector(folder: Path) -> None:
    tiny.save_masked(folder, tiny.masked(), **{"cls_proj.weight": tiny.random(1, 4, 32)})


def two_sides(folder: Path) -> None:
    svdr(folder, encoder_q=tiny.plain(1), encoder_p=tiny.plain(2))


def packaged(static: bool) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        modules(folder, static=static)
        for path in (folder / "st").iterdir():
            path.rename(folder / path.name)

    return make


FAMILIES: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "splade": (masked, {}),
    "splade, sum": (masked, {"pooling": "sum"}),
    "splade-doc": (masked, {"family": "splade-doc"}),
    "slim": (masked, {"family": "slim", "top": 5}),
    "unicoil": (one_weight("coil_encoder.", "UniCoilEncoder"), {}),
    "tildev2": (one_weight("", "TILDEv2"), {}),
    "svdr": (two_sides, {}),
    "dupmae": (with_vector, {}),
    "sentence-transformers": (packaged(static=False), {}),
    "sentence-transformers, static": (packaged(static=True), {}),
}


@contextmanager
def ran_in() -> Iterator[set[Any]]:
    """Collects what the layers of transformers give."""
    seen: set[Any] = set()

    def note(module: Any, _: Any, output: Any) -> None:
        if isinstance(module, BertLayer):
            seen.add((output[0] if isinstance(output, tuple) else output).dtype)

    handle = register_module_forward_hook(note)
    yield seen
    handle.remove()


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_changes_weights_a_little(tmp_path: Path, family: str, dtype: str) -> None:
    make, options = FAMILIES[family]
    make(tmp_path)
    whole, half = tiny.load(tmp_path, **options), tiny.load(tmp_path, dtype=dtype, **options)
    assert whole.spec.fingerprint != half.spec.fingerprint
    for side in ("encode_documents", "encode_queries"):
        with ran_in() as wide:
            a: Terms = getattr(whole, side)(TEXTS)
        with ran_in() as narrow:
            b: Terms = getattr(half, side)(TEXTS)
        ran = {"splade-doc", "tildev2", "sentence-transformers, static"}.isdisjoint(
            {family}
        ) or side == "encode_documents"
        assert (wide, narrow) == (({torch.float32}, {getattr(torch, dtype)}) if ran else (set(), set()))
        assert a.rows.dtype == b.rows.dtype == np.float32
        np.testing.assert_array_equal(a.offsets, b.offsets)
        near = NEAR[dtype] * np.sqrt((a.rows.data**2).mean())
        one, two = a.rows.toarray(), b.rows.toarray()
        if family == "slim":
            one, two = same_cut(one, two, 8 * near)
        apart = np.sqrt(((one - two) ** 2).sum() / (one != 0).sum())
        assert 0 < apart < near if ran else apart == 0
        for row, other in zip(one, two, strict=True):
            # Whatever is among the first five is, but for near ties, what float32 has there.
            assert row[np.argsort(-other)[:5]].min() >= np.sort(row)[-5] - 8 * near


@pytest.mark.parametrize("family", ["splade", "splade, sum", "slim", "sentence-transformers"])
def test_what_follows_the_transformer_is_computed_in_float32(tmp_path: Path, family: str) -> None:
    """Its bfloat16 logits, one text at a time without padding, and numpy behind them."""
    make, options = FAMILIES[family]
    make(tmp_path)
    encoder, model = tiny.load(tmp_path, dtype="bfloat16", **options), tiny.masked().to(torch.bfloat16)
    for text in TEXTS:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([tiny.line(text)])).logits[0].float().numpy()
        rows = np.log1p(np.maximum(logits, 0))
        if family == "slim":
            cut = np.sort(rows, axis=1)[:, -5:-4]
            expected = np.where(rows >= cut, rows, 0)[1:]
        else:
            expected = (rows.max(axis=0) if family == "splade" else rows.sum(axis=0))[None]
        np.testing.assert_allclose(encoder.encode_documents([text]).rows.toarray(), expected, rtol=1e-6)


def same_cut(one: np.ndarray, two: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray]:
    """Both without what only one has among its largest, which must be about as large as the least that it kept."""
    differ = (one > 0) != (two > 0)
    for rows in (one, two):
        least = np.where(rows > 0, rows, np.inf).min(axis=1, keepdims=True)
        assert (np.where(differ, rows, 0) <= least + near).all()
    assert differ.sum() < 0.05 * (one > 0).sum()
    return np.where(differ, 0, one), np.where(differ, 0, two)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_gives_nearly_the_cpus_weights(tmp_path: Path, family: str) -> None:
    make, options = FAMILIES[family]
    make(tmp_path)
    whole = tiny.load(tmp_path, **options).encode_documents(TEXTS)
    with ran_in() as seen:
        half = load_sparse_encoder(str(tmp_path), SparseOptions(**options), device="cuda:0").encode_documents(TEXTS)
    near = NEAR["float16"] * np.sqrt((whole.rows.data**2).mean())
    one, two = whole.rows.toarray(), half.rows.toarray()
    if family == "slim":
        one, two = same_cut(one, two, 8 * near)
    assert seen == {torch.float16} and np.sqrt(((one - two) ** 2).sum() / (one != 0).sum()) < near


@pytest.mark.parametrize("family", [*FAMILIES, "coil"])
def test_rankings_are_the_same_but_for_ties(tmp_path: Path, family: str) -> None:
    # SVDR's random query and document models share few keys; one for both does.
    alone = {"coil": coil, "svdr": lambda folder: svdr(folder, encoder_p=tiny.plain())}
    make, options = (alone[family], {}) if family in alone else FAMILIES[family]
    (tmp_path / "m").mkdir()
    make(tmp_path / "m")
    kind = "" if options.get("family") is None else f"{options['family']}:"
    sides: dict[str, Any] = (
        {"encoder": str(tmp_path / "m")} if family == "coil" else {"encoder": None, "terms": f"{kind}{tmp_path / 'm'}"}
    )
    found = {}
    for dtype in ("float32", "float16"):
        index = plait.create(tmp_path / dtype, options=EncoderOptions(dtype=dtype), policy=None, **sides)
        index.add([{"id": str(i), "text": text} for i, text in enumerate(CORPUS)])
        found[dtype] = [{h.id: h.score for h in hits} for hits in index.search(QUERIES, len(CORPUS))]
    for whole, half in zip(found["float32"], found["float16"], strict=True):
        near = 0.02 * max(whole.values())
        assert len(whole) > 2
        for id in whole.keys() | half.keys():
            assert half.get(id, 0) == pytest.approx(whole.get(id, 0), abs=near)
        for (first, high), (second, low) in combinations(whole.items(), 2):
            assert high - low < 2 * near or half[first] > half.get(second, 0)


@pytest.mark.parametrize("dtype", NEAR)
def test_coil_in_half_precision(tmp_path: Path, dtype: str) -> None:
    folder = str(coil(tmp_path))
    whole, half = load_encoder(folder), load_encoder(folder, EncoderOptions(dtype=dtype))
    for side in ("encode_documents", "encode_queries"):
        with ran_in() as seen:
            a, b = getattr(whole, side)(TEXTS), getattr(half, side)(TEXTS)
        assert seen == {torch.float32, getattr(torch, dtype)}
        for name in ("offsets", "ids", "spans", "roles"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        for one, two in ((a.vectors, b.vectors), (a.globals_, b.globals_)):
            assert two.dtype == np.float32
            assert 0 < np.sqrt(((one - two) ** 2).mean()) < NEAR[dtype] * np.sqrt((one**2).mean())


@pytest.mark.parametrize("kind", ["splade", "slim", "beta"])
def test_a_collection_keeps_it(tmp_path: Path, kind: str) -> None:
    (tmp_path / "m").mkdir()
    (masked if kind != "beta" else two_sides)(tmp_path / "m")
    name, rows = f"{kind}:{tmp_path / 'm'}", [{"id": str(i), "text": text} for i, text in enumerate(CORPUS)]
    found = []
    for dtype in (None, "bfloat16"):
        path = tmp_path / f"c-{dtype}"
        fields = {"words": "bm25", "sets": "binary", "model": name}
        with plait.create(path, encoder=None, terms=fields, options=EncoderOptions(dtype=dtype), policy=None) as index:
            index.add(rows)
        with plait.open(path, policy=None) as index:
            stored = index.settings["term_fields"]
            assert [field.get("dtype") for field in stored.values()] == [None, None, dtype]
            assert ("dtype" in stored["model"]) == (dtype is not None)
            with ran_in() as seen:
                found.append([(h.id, h.score) for h in index.search(QUERIES[0], field="model")])
            assert seen == {torch.float32 if dtype is None else torch.bfloat16}
    assert found[0] and found[0] != found[1]


def test_where_no_model_runs_there_is_nothing_to_choose(tmp_path: Path) -> None:
    half = EncoderOptions(dtype="float16")
    with pytest.raises(InvalidArgument, match="dtype is 'int8'; it must be one of float32, float16, bfloat16"):
        SparseOptions(dtype="int8")
    with pytest.raises(InvalidArgument, match="dtype is 'float16', and binary has no model"):
        load_sparse_encoder(BINARY, SparseOptions(dtype="float16"))
    for number, terms in enumerate(("bm25", "binary", {"a": "bm25:german", "b": "binary"})):
        with pytest.raises(InvalidArgument, match="dtype is 'float16', and no model runs for this collection"):
            plait.create(tmp_path / str(number), encoder=None, terms=terms, options=half)
    # Beside an encoder that has one, terms without a model are no hindrance.
    assert (
        plait.create(tmp_path / "c", encoder=str(coil(tmp_path / "m")), terms="binary", options=half).search("a") == []
    )


def test_what_exceeds_float16_says_so(tmp_path: Path) -> None:
    model: Any = tiny.masked()
    with torch.no_grad():
        model.bert.encoder.layer[0].intermediate.dense.weight *= 1e5
    for family, more in {"splade": {}, "slim": {}, "dupmae": {"cls_proj.weight": tiny.random(1, 4, 32)}}.items():
        (tmp_path / family).mkdir()
        tiny.save_masked(tmp_path / family, model, **more)
        for top in (None, 3):
            half = tiny.load(tmp_path / family, family=family, top=top, dtype="float16")
            with pytest.raises(InvalidArgument, match=r"gives NaN or infinity.*choose another dtype, bfloat16"):
                half.encode_documents(TEXTS)
        assert np.isfinite(
            tiny.load(tmp_path / family, family=family, dtype="bfloat16").encode_documents(TEXTS).rows.data
        ).all()


@given(st.lists(st.integers(1, 60), max_size=30), st.integers(1, 200))
def test_batches_are_of_about_equal_length(sizes: list[int], budget: int) -> None:
    found = [batch for batch in by_length(sizes, budget) if batch]
    flat = [i for batch in found for i in batch]
    assert sorted(flat) == [*range(len(sizes))] and [sizes[i] for i in flat] == sorted(sizes)
    for batch, following in pairwise([*found, []]):
        assert len(batch) == 1 or len(batch) * sizes[batch[-1]] <= budget
        assert not following or (len(batch) + 1) * sizes[following[0]] > budget
