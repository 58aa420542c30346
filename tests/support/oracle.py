"""The slow, obvious versions of everything fast, and the strategies that draw ragged shapes for comparing both."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st
from plait.index.hits import Hits
from plait.index.kernels import vectors as kernels
from plait.index.tokens import Role, Tokens, from_matrices


@st.composite
def ragged(draw: st.DrawFn, dim: int | None = None, documents: int = 12, longest: int = 9, shortest: int = 0) -> Tokens:
    """Documents of `shortest` to `longest` tokens with float16-exact entries; few distinct values, so ties occur."""
    width = dim or draw(st.sampled_from([1, 3, 7, 8, 17]))
    lengths = draw(st.lists(st.integers(shortest, longest), min_size=1, max_size=documents))
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    coarse = draw(st.booleans())
    matrices = []
    for length in lengths:
        m = rng.integers(-2, 3, (length, width)) / 2 if coarse else rng.standard_normal((length, width)) / 2
        matrices.append(m.astype(np.float16).astype(np.float32))
    return from_matrices(matrices, width)


def some_tokens(documents: int, seed: int = 0, dim: int = 5) -> Tokens:
    """Documents of 0 to 5 tokens with ids, spans and roles; the same for the same seed."""
    rng = np.random.default_rng(seed)
    plain = from_matrices(
        [rng.standard_normal((n, dim)).astype(np.float16) for n in rng.integers(0, 6, documents)], dim
    )
    n = len(plain.vectors)
    return Tokens(
        plain.vectors,
        plain.offsets,
        ids=rng.integers(0, 99, n).astype(np.uint32),
        spans=rng.integers(0, 99, (n, 2)).astype(np.uint32),
        roles=np.full(n, Role.WORD, np.uint8),
    )


def on_every_level() -> Iterator[str]:
    """Forces every instruction set of this machine in turn."""
    before = kernels.simd_level()
    for name in kernels.simd_levels():
        kernels.use_simd(name)
        yield name
    kernels.use_simd(before)


def normal(rng: np.random.Generator, lengths: list[int], dim: int) -> Tokens:
    """Documents of the given lengths with normal float32 entries."""
    return from_matrices([rng.standard_normal((n, dim)).astype(np.float32) for n in lengths], dim)


def matrices(tokens: Tokens) -> list[np.ndarray]:
    """Every document's vectors in float64."""
    return [tokens.vectors[tokens.rows(i)].astype(np.float64) for i in range(len(tokens))]


def maxsim(query: np.ndarray, document: np.ndarray) -> float:
    """sum_i max_j q_i . d_j, by two loops; minus infinity for a document without tokens."""
    if not len(document):
        return -np.inf
    return sum(max(float(q.astype(np.float64) @ d.astype(np.float64)) for d in document) for q in query)


def coil(query: Tokens, document: Tokens) -> float | None:
    """COIL's score of one document for one query, by loops; None: no id is shared and there are no global vectors."""
    assert query.ids is not None and document.ids is not None
    total, shared = 0.0, False
    for i, q in zip(query.ids, query.vectors.astype(np.float64), strict=True):
        here = [float(q @ v.astype(np.float64)) for j, v in zip(document.ids, document.vectors, strict=True) if i == j]
        total, shared = total + max([0.0, *here]), shared or bool(here)
    if query.globals_ is not None and document.globals_ is not None:
        return total + product(query, document)
    return total if shared else None


def product(query: Tokens, document: Tokens) -> float:
    """The product of the global vectors of one query and one document."""
    assert query.globals_ is not None and document.globals_ is not None
    return float(query.globals_[0].astype(np.float64) @ document.globals_[0].astype(np.float64))


def xtr(query: np.ndarray, documents: list[np.ndarray], k_token: int, missing: str | float) -> dict[int, float]:
    """XTR's score of every document that owns a retrieved token (arXiv 2304.01982
    section 3), as a sum over the query."""
    tokens = [(d, vector) for d, document in enumerate(documents) for vector in document]
    cells: dict[int, dict[int, float]] = {}
    fill: dict[int, float] = {}
    for i, q in enumerate(query.astype(np.float64)):
        found = sorted(((float(q @ v), n, d) for n, (d, v) in enumerate(tokens)), key=lambda t: (-t[0], t[1]))[:k_token]
        for score, _, d in found:
            row = cells.setdefault(d, {})
            row[i] = max(score, row.get(i, -np.inf))
        kth = found[-1][0] if found else 0.0
        fill[i] = kth if missing == "kth" else 0.0 if missing in ("zero", "none") else float(missing)
    scores = {}
    for d, row in cells.items():
        scores[d] = sum(row.get(i, fill[i]) for i in range(len(query)))
        if missing == "none":
            scores[d] *= len(query) / len(row)
    return scores


def same_ranking(hits: Hits, scores: dict[int, float], k: int, tolerance: float) -> None:
    """Asserts that hits are the k best of all retrieved documents' scores; documents closer
    than the tolerance may swap."""
    found = sorted((s for s in scores.values() if s > -np.inf), reverse=True)[:k]
    assert len(hits) == len(found), f"{len(hits)} results, the oracle has {len(found)}"
    np.testing.assert_allclose(hits.scores, found, atol=tolerance, rtol=0)
    np.testing.assert_allclose(hits.scores, [scores[d] for d in hits.docs.tolist()], atol=tolerance, rtol=0)
    assert len(set(hits.docs.tolist())) == len(hits), "a document twice"
