"""The Triton kernels in their interpreter, against the same two loops as every backend, over ragged edges."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
import triton
import triton.language as tl
from plait.device import code_kernel, codes, reference, row_kernel
from plait.index.codecs import pq4
from test_maxsim import EDGES, TYPES, Case, case, cases, same

pytestmark = pytest.mark.skipif(not row_kernel.INTERPRETED, reason="TRITON_INTERPRET=0: see tests marked gpu")


@pytest.mark.parametrize("rows", TYPES, ids=str)
def test_rows_at_the_edges_of_tiles(rows: torch.dtype) -> None:
    made = case(EDGES, [(33, [*range(len(EDGES))]), (0, [3, 0]), (32, [5]), (1, [0, 0, 8])], 20, rows, torch.float32, 1)
    same(made, row_kernel.maxsim(*made.arguments, made.width), 20)


def test_dimensions_beyond_one_step() -> None:
    made = case([1, 70], [(2, [0, 1, 0])], 300, torch.float16, torch.float32, 1)
    same(made, row_kernel.maxsim(*made.arguments, made.width), 300)


def test_of_equal_tokens_the_first_is_met() -> None:
    """Also where the equals lie in different tiles."""
    rows = torch.ones(150, 16, dtype=torch.float16)
    rows[:3] = rows[70] = 0
    offsets, one = torch.tensor([0, 150]), torch.zeros(1, dtype=torch.int64)
    ends = torch.tensor([0, 2]), torch.tensor([0, 1])
    query = torch.stack([torch.ones(16), -torch.ones(16)])
    for run in (row_kernel.maxsim, reference.maxsim, torch.ops.plait.maxsim):
        scores, matches = run(query, ends[0], rows, None, offsets, one, ends[1], 2)
        assert (scores.tolist(), matches.tolist()) == ([16.0], [[3, 0]])


@settings(max_examples=12, deadline=None)
@given(cases(3, (1, 16, 48)))
def test_rows_equal_two_loops(drawn: tuple[Case, int]) -> None:
    made, dim = drawn
    same(made, row_kernel.maxsim(*made.arguments, made.width), dim)
    same(made, row_kernel.maxsim(*made.arguments), dim)


def coded(rng: np.random.Generator, dim: int, size: int, q: int) -> tuple[codes.Book, codes.Asked]:
    """A codebook of random centroids, and a query."""
    width = -(-dim // (2 * size))
    rotation = np.zeros((dim, 2 * size * width), np.float32)
    rotation[:, :dim] = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    centroids = rng.standard_normal((2 * size, 16, width)).astype(np.float32)
    book = codes.book(pq4.Codebook(rotation, centroids), torch.device("cpu"))
    return book, codes.ask(book, torch.from_numpy(rng.standard_normal((q, dim)).astype(np.float32)))


def drawn(rng: np.random.Generator, blocks: int, subs: int) -> torch.Tensor:
    """Words (blocks, subs) of any codes."""
    return torch.from_numpy(rng.integers(-(1 << 31), 1 << 31, (blocks, subs)).astype(np.int32))


KINDS = [(3, 8, 1), (20, 8, 5), (48, 16, 32), (100, 16, 33), (100, 8, 5), (128, 64, 2), (300, 16, 65)]
"""Dimensions, bytes of a code, query rows: fewer dimensions than sub-spaces, one to sixteen for each, and more than one
step's."""
BLOCKS = st.lists(
    st.one_of(st.sampled_from([0, 1, 3, 4, 5, 7, 8, 9, 16, 17]), st.integers(0, 5)), min_size=1, max_size=20
)
JUNK = 3
"""Blocks of other tokens around those that are meant."""


@settings(max_examples=12, deadline=None)
@given(BLOCKS, st.sampled_from(KINDS), st.booleans(), st.integers(0, 2**31))
@example([1] * 17, (16, 8, 64), True, 0)
def test_the_scan_of_documents_is_torchs(
    lengths: list[int], kind: tuple[int, int, int], masked: bool, seed: int
) -> None:
    rng, (dim, size, q) = np.random.default_rng(seed), kind
    book, asked = coded(rng, dim, size, q)
    words = drawn(rng, sum(lengths) + 2 * JUNK, 2 * size)
    bounds = torch.from_numpy(JUNK + np.concatenate([[0], np.cumsum(lengths)]))
    allowed = torch.from_numpy(rng.random(len(lengths)) < 0.5 if masked else np.ones(len(lengths), bool))
    wanted = reference.document_scores(book, asked, words, bounds)
    got = code_kernel.document_scores(book, asked, words, bounds, allowed if masked else None)
    # A product sums up to 1279 times the entries of a row.
    atol = 2.0**-22 * 1279 * float(asked.rows.float().abs().sum(1).max()) * 32
    torch.testing.assert_close(got[:, allowed], wanted[:, allowed], rtol=0, atol=atol)


@settings(max_examples=12, deadline=None)
@given(BLOCKS, st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 2**31))
def test_the_scan_of_lists_is_torchs(lengths: list[int], kind: tuple[int, int, int], share: float, seed: int) -> None:
    rng, (dim, size, q) = np.random.default_rng(seed), kind
    book, asked = coded(rng, dim, size, q)
    words = drawn(rng, sum(lengths) + 2 * JUNK, 2 * size)
    bounds = torch.from_numpy(JUNK + np.concatenate([[0], np.cumsum(lengths)]))
    owners = torch.from_numpy(rng.integers(0, 8, 8 * len(words)).astype(np.int32))
    probed = torch.from_numpy(rng.random((len(lengths), q)) < share)
    most = int(probed.any(1).sum())
    wanted = reference.list_gains(book, asked, words, bounds, owners, probed, 7)
    got = code_kernel.list_gains(book, asked, words, bounds, owners, probed, most, 7)
    atol = 2.0**-22 * 1279 * float(asked.rows.float().abs().sum(1).max())
    torch.testing.assert_close(got, wanted, rtol=0, atol=atol)
    # Seven documents, and an eighth for what fills blocks up.
    assert got.shape == (7, q)


@pytest.mark.parametrize("extremes", [[-128], [127], [-128, 127]])
def test_products_of_bytes_are_exact(extremes: list[int]) -> None:
    """The greatest integers, 512 dimensions, four steps of a product: sums just below 31 bits."""
    rng, dim, subs = np.random.default_rng(3), 512, 128
    signs = torch.from_numpy(np.stack([np.ones(dim), -np.ones(dim), rng.choice([-1, 1], dim)]).astype(np.float32))
    rows = torch.zeros(codes.GROUP, dim)
    rows[:3] = codes.LARGEST * signs
    entries = torch.from_numpy(rng.choice(np.array(extremes, np.int8), (dim, 16)).view("<i4").T.copy())
    nothing = torch.zeros(dim)
    book = codes.Book(torch.eye(dim), entries, nothing, nothing, subs)
    asked = codes.Asked(rows, -128 * rows.sum(1), torch.ones(()))
    words, bounds = drawn(rng, 3, subs), torch.tensor([0, 1, 3])
    signed = (reference.decoded(entries, words) - 128).numpy().astype(np.int64)
    assert set(np.unique(signed)) == set(extremes)
    products = signed @ rows.numpy().astype(np.int64).T
    assert np.abs(products).max() > 0.98 * 2**31 or len(extremes) > 1
    wanted = [products[:8].max(0).astype(np.float32), products[8:].max(0).astype(np.float32)]
    got = code_kernel.document_scores(book, asked, words, bounds)[0]
    np.testing.assert_allclose(got.numpy(), np.stack(wanted).sum(1), rtol=0, atol=1024)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([32, 256, 512, 1024, 4096]), st.booleans(), st.floats(1e-30, 1e30), st.integers(0, 2**31))
def test_no_query_makes_sums_of_more_than_31_bits(dim: int, flat: bool, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = torch.ones(dim)
    book = codes.Book(torch.eye(dim), torch.zeros((4, dim), dtype=torch.int32), 0 * one, one, 16)
    query = np.ones((2, dim)) if flat else rng.standard_normal((2, dim))
    asked = codes.ask(book, torch.from_numpy((query * scale).astype(np.float32)))
    parts, _ = code_kernel._parts(asked, 1)
    upper, lower = parts.reshape(-1, 2, 8, dim).long().unbind(1)
    rows = (256 * upper + lower).flatten(0, 1)
    assert torch.equal(rows, asked.rows.long())
    assert rows[:2].abs().sum(1).max() > 2**14
    for summed in (rows, 256 * upper.flatten(0, 1)):
        assert 128 * int(summed.abs().sum(1).max()) < 2**31


def test_bytes_are_permuted_as_the_instruction_permutes() -> None:
    """`prmt` of the PTX manual, without its sign mode: what the interpreter runs in its place."""

    @triton.jit
    def run(a, b, selector, out):
        at = tl.arange(0, 64)
        tl.store(out + at, code_kernel._permuted(tl.load(a + at), tl.load(b + at), tl.load(selector + at), True))  # pyright: ignore[reportGeneralTypeIssues]

    rng = np.random.default_rng(2)
    a, b = (drawn(rng, 1, 64)[0] for _ in range(2))
    selector, out = drawn(rng, 1, 64)[0] & 0x77777777, torch.empty(64, dtype=torch.int32)
    run[(1,)](a, b, selector, out)
    for x, y, s, got in zip(*(t.numpy().view("<u4").tolist() for t in (a, b, selector, out)), strict=True):
        pool = x.to_bytes(4, "little") + y.to_bytes(4, "little")
        assert got.to_bytes(4, "little") == bytes(pool[s >> 4 * i & 7] for i in range(4))
