"""FAISS as a token store: arrays in, arrays out. The one file that knows FAISS (extra `faiss`).

An inverted file over all token vectors of a segment: row number = FAISS id. Only inner product, only these codecs:

========  ===============  ========================================================================
codec     bytes per token  scores
========  ===============  ========================================================================
SQfp16    2 dim            exact to float16
SQ8       dim              exact for the decoded vector; one byte per dimension of the residual
PQ{M}     M                exact for the decoded vector; M sub-vectors of 256 codewords
PQ{M}x4fs M / 2            "fast scan": 16 codewords, and the query's M tables are rounded to 8 bits,
                           so a score is off by at most M / 2 steps of (widest table's span) / 255
========  ===============  ========================================================================
(8 more bytes per token hold its row number.)

Sources: IVFADC, Jegou et al. 2011 (10.1109/TPAMI.2010.57); fast scan, Andre et al. 2015 (VLDB 9(4));
the FAISS library, arXiv 2401.08281.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataLoss, FailedPrecondition, InvalidArgument
from ..hits import Hits, best
from ..stopping import steps
from .faiss_params import MISSING, PER_LIST, FaissParams, fields, list_count, parse, sample_size

FILE = "tokens.faiss"
"""The index file's name in a segment."""

_PAIRS = 1 << 24
"""(query, token) scores held at once during a search: about 200 MB."""
_GPU_LIMIT = 2048
"""Largest k and nprobe of FAISS's own GPU kernels."""
_GPU_PQ = (1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96)
"""Sub-vectors that they are compiled for; from 56, look-up tables fit only in float16."""


def train(
    sample: np.ndarray, params: FaissParams, tokens: int, *, device: str = "cpu", threads: int | None = None
) -> bytes:
    """A codebook generation: the trained index without tokens, serialised. The number of threads does not change it.

    Args:
        sample: (n, dim) float32 token vectors; beyond `sample_size`, a seeded choice of them.
        tokens: rows that the index is to hold; decides the number of lists, which never exceeds n / 39.
        device: `cpu` or `cuda:N`.
        threads: OpenMP threads; None leaves FAISS's own choice.

    Raises:
        FailedPrecondition: no vectors to train on; FAISS, or its GPU build, is missing.
        InvalidArgument: the factory does not fit the dimension or the device.
    """
    faiss, sample = _faiss(), _matrix(sample)
    n, dim = sample.shape
    if not n:
        raise FailedPrecondition("no token vectors to train a FAISS codebook on; add documents first")
    _, codec, _ = fields(parse(params.factory, dim).factory)
    size = min(n, sample_size(params, tokens))
    if size < n:
        sample = sample[np.sort(np.random.default_rng(params.seed).choice(n, size, replace=False))]
    # A factory's own K may be larger than the rows can train; FAISS would warn, then fail.
    lists = min(list_count(params, tokens), max(1, size // PER_LIST))
    index = faiss.index_factory(dim, f"IVF{lists},{codec}", faiss.METRIC_INNER_PRODUCT)
    _configure(index, params.seed, size)
    placed = _place(index, device)
    with _openmp(threads):
        # A PQ codebook needs as many vectors as its 256 codewords: a small sample is repeated.
        placed.train(sample if size >= 256 else np.resize(sample, (256, dim)))
    return faiss.serialize_index(_home(placed, device)).tobytes()


def build(
    codebook: bytes,
    blocks: Iterable[np.ndarray],
    path: Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Codes all blocks, (n, dim) float32 each, in order (rows 0, 1, ...) and writes the index file; until then the
    codes stay in memory. The caller syncs the file and keeps its checksum.

    Args:
        progress: called after each block with the number of rows added so far.

    Raises:
        DataLoss: the codebook is damaged.
        InvalidArgument: a block has another dimension than the codebook.
    """
    faiss = _faiss()
    try:
        index = faiss.deserialize_index(np.frombuffer(codebook, np.uint8))
    except RuntimeError as error:
        raise DataLoss(f"FAISS codebook of {len(codebook)} bytes is damaged; train again ({_reason(error)})") from None
    placed = _place(index, device)
    for block in blocks:
        with _openmp(threads):
            # Only `add`: FAISS's add_core with stored assignments corrupts fast-scan lists.
            placed.add(_matrix(block, index.d))
        if progress:
            progress(placed.ntotal)
    _save(_home(placed, device), path)


def _save(index: Any, path: Path) -> None:
    try:
        _faiss().write_index(index, str(path))
    except RuntimeError as error:  # a full disk, which the caller knows by this class
        raise OSError(f"{path} could not be written ({_reason(error)})") from error


def residual(codebook: bytes, sample: np.ndarray) -> float:
    """Mean distance of (n, dim) vectors, n > 0, from their nearest centroid by inner product."""
    faiss = _faiss()
    index = faiss.deserialize_index(np.frombuffer(codebook, np.uint8))
    sample = _matrix(sample, index.d)
    _, nearest = index.quantizer.search(sample, 1)
    centroids = index.quantizer.reconstruct_n(0, index.nlist)
    return float(np.linalg.norm(sample - centroids[nearest[:, 0]], axis=1).mean())


class FaissStore:
    """An index file, open for search. Threads may share it."""

    probes = True

    def __init__(self, index: Any, device: str = "cpu") -> None:
        faiss = _faiss()
        self.tokens: int = index.ntotal
        self.lists: int = index.nlist
        self.dim: int = index.d
        self.code_bytes: int = index.code_size
        """Bytes of one token's code, without its row number."""
        self._faiss, self._device = faiss, device
        self._fast = isinstance(index, faiss.IndexIVFPQFastScan)
        self._index = _place(index, device)

    @classmethod
    def open(cls, path: Path, *, device: str = "cpu") -> FaissStore:
        """Maps the file into memory (pages load on use); fast scan, whose lists FAISS cannot map, is read whole.

        Raises:
            DataLoss: missing, truncated or damaged in structure. Damaged codes go unnoticed: verify checksums first.
            FailedPrecondition, InvalidArgument: the device is not to be had, or not for this codec.
        """
        faiss = _faiss()
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP if device == "cpu" else 0)
        except RuntimeError as error:
            raise DataLoss(f"{path} is no whole FAISS index; restore it or rebuild ({_reason(error)})") from None
        if fault := _fault(index):
            raise DataLoss(f"{path} contradicts itself ({fault}); restore it or rebuild")
        invlists = faiss.downcast_InvertedLists(index.invlists)
        if isinstance(invlists, faiss.OnDiskInvertedLists):
            # Its read-ahead would start 32 threads for every search.
            invlists.prefetch_nthread = 0
        return cls(index, device)

    def search(
        self, queries: np.ndarray, k_token: int, nprobe: int, *, rows: np.ndarray | None = None, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `k_token` best tokens of each query vector among the `nprobe` nearest lists.

        Args:
            queries: (q, dim) float32.
            k_token: 1 or more, cut to `tokens`. Larger: later stages see more; their time grows with it.
            nprobe: 1 or more, cut to `lists`. Larger: better recall; time grows with it. `lists`: every token.
            rows: (tokens,) bool, the rows allowed. Others are skipped before they are scored (fast scan: before they
                are ranked), so that k allowed rows come back when the probed lists hold them.
            threads: OpenMP threads of this call, shared out over the queries.

        Returns:
            (q, k) float32 scores and (q, k) int64 rows, best first, ties by row; minus infinity and -1 fill up.
            On a GPU k and nprobe stop at 2048, `rows` are sorted out afterwards (an error where 2048 hold too few), and
            ties at the k-th place fall as they will.

        Raises:
            InvalidArgument: a bound or a shape is not kept.
        """
        queries = _matrix(queries, self.dim)
        for name, value in (("k_token", k_token), ("nprobe", nprobe), ("threads", threads)):
            if value < 1:
                raise InvalidArgument(f"{name} is {value}; it must be at least 1")
        if rows is not None and (rows.dtype != bool or rows.shape != (self.tokens,)):
            raise InvalidArgument(f"rows must be ({self.tokens},) bool, one per token; got {rows.shape} {rows.dtype}")
        k, nprobe = min(k_token, self.tokens), min(nprobe, self.lists)
        scores, found = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        with _openmp(threads):
            for i, hits in enumerate(self._ranked(queries, k, nprobe, rows)):
                scores[i, : len(hits)], found[i, : len(hits)] = hits.scores, hits.docs
        return scores, found

    def held(self, number: int) -> np.ndarray:
        """(n,) int64 rows that a list holds."""
        lists, size = self._index.invlists, self._index.invlists.list_size(number)
        return self._faiss.rev_swig_ptr(lists.get_ids(number), size) if size else np.zeros(0, np.int64)

    def _ranked(self, queries: np.ndarray, k: int, nprobe: int, rows: np.ndarray | None) -> Iterator[Hits]:
        """One `Hits` per query, in slices that bound the memory."""
        if not self.tokens:
            return
        if self._device != "cpu":
            yield from self._ranked_on_gpu(queries, k, nprobe, rows)
            return
        # Without a lower bound a range search returns every probed token; FAISS's own top k would choose arbitrarily
        # among ties at the k-th place.
        step = max(1, _PAIRS // max(1, self.tokens * nprobe // self.lists))
        wanted = k if rows is None else min(k, int(rows.sum()))
        for first in steps(range(0, len(queries), step)):
            part = queries[first : first + step]
            bounds, scores, labels = self._index.range_search(part, -np.inf, params=self._probe(nprobe, rows))
            for i, (start, end) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
                if self._fast and end - start < wanted:
                    yield best(*self._whole(part[i : i + 1], nprobe, rows), k)
                else:
                    yield best(labels[start:end], scores[start:end], k)

    def _whole(self, query: np.ndarray, nprobe: int, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """All probed rows and scores of one (1, dim) query, fast scan.

        FAISS drops a token whose M table entries are all the smallest of their tables (rounded score 0, as every token
        of a zero query). Its score is the sum of those minima. Run alone, the query meets the same lists in both calls.
        """
        _, scores, labels = self._index.range_search(query, -np.inf, params=self._probe(nprobe, rows))
        _, probed = self._index.quantizer.search(query, nprobe)
        ids = np.concatenate([*map(self.held, probed[0].tolist()), labels[:0]])
        lost = np.setdiff1d(ids if rows is None else ids[rows[ids]], labels)
        pq = self._index.pq
        words = self._faiss.vector_to_array(pq.centroids).reshape(pq.M, pq.ksub, pq.dsub)
        lowest = np.einsum("md,mcd->mc", query.reshape(pq.M, pq.dsub), words).min(axis=1).sum()
        return np.concatenate([labels, lost]), np.concatenate([scores, np.full(len(lost), lowest, np.float32)])

    def _probe(self, nprobe: int, rows: np.ndarray | None) -> Any:
        if rows is None:
            return self._faiss.SearchParametersIVF(nprobe=nprobe)
        selector = self._faiss.IDSelectorBitmap(np.packbits(rows, bitorder="little"))
        return self._faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)

    def _ranked_on_gpu(self, queries: np.ndarray, k: int, nprobe: int, rows: np.ndarray | None) -> Iterator[Hits]:
        # FAISS's GPU lists have no range search, and accept a selector without using it: with so many more fetched as
        # are not allowed, k allowed ones are among them whatever comes.
        wanted = k if rows is None else min(self.tokens, k + int(len(rows) - rows.sum()))
        if max(k, nprobe) > _GPU_LIMIT:
            raise InvalidArgument(f"k_token {k}, nprobe {nprobe}: on a GPU at most {_GPU_LIMIT}; use device='cpu'")
        fetched = min(wanted, _GPU_LIMIT)
        scores, found = self._index.search(queries, fetched, params=self._probe(nprobe, None))
        for one, labels in zip(scores, found, strict=True):
            kept = labels >= 0 if rows is None else (labels >= 0) & rows[labels]
            if kept.sum() < k and fetched < wanted and labels[-1] >= 0:
                raise InvalidArgument(
                    f"the best {fetched} tokens hold {kept.sum()} of the {k} allowed ones wanted, and FAISS on a GPU returns"
                    " no more; lower k_token, compact the collection, or use device='cpu'"
                )
            yield best(labels[kept], one[kept], k)


def _faiss() -> Any:
    """FAISS, imported on first use.

    Who uses torch too imports it first: both then share one OpenMP runtime. FAISS first crashes with some CUDA builds.
    """
    try:
        import faiss
    except ImportError:
        raise FailedPrecondition(MISSING) from None
    return faiss


def _configure(index: Any, seed: int, size: int) -> None:
    """Seeds every k-means; FAISS's own caps and warnings give way to `FaissParams`."""
    index.cp.seed = seed
    index.cp.max_points_per_centroid = size
    index.cp.min_points_per_centroid = 1
    if hasattr(index, "pq"):
        index.pq.cp.seed = seed
        index.pq.cp.min_points_per_centroid = 1
    if hasattr(index, "do_polysemous_training"):
        # Renumbers codewords for a Hamming filter that nobody uses here: over a second per sub-vector.
        index.do_polysemous_training = False


def _place(index: Any, device: str) -> Any:
    """The index on its device: itself on `cpu`, a copy on `cuda[:N]`."""
    if device == "cpu":
        return index
    faiss, match = _faiss(), re.fullmatch(r"cuda(?::(\d+))?", device)
    if not match:
        raise InvalidArgument(f"device {device!r}; use cpu or cuda:N")
    if isinstance(index, faiss.IndexIVFPQFastScan):
        raise InvalidArgument(f"device {device!r}: FAISS has no fast scan on GPUs; use cpu, or PQ{{M}} without x4fs")
    parts = index.pq.M if isinstance(index, faiss.IndexIVFPQ) else 1
    if parts not in _GPU_PQ:
        choices = ", ".join(map(str, _GPU_PQ))
        raise InvalidArgument(
            f"device {device!r}: PQ{parts}; FAISS on GPUs takes M of {choices}; use cpu, or another M"
        )
    number, count = int(match[1] or 0), faiss.get_num_gpus()
    if number >= count:
        raise FailedPrecondition(
            f"device {device!r}: this FAISS sees {count} GPUs; use cpu, or install a FAISS for GPUs"
        )
    options = faiss.GpuClonerOptions()
    options.useFloat16 = parts >= 56
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), number, index, options)


def _home(index: Any, device: str) -> Any:
    return index if device == "cpu" else _faiss().index_gpu_to_cpu(index)


@contextmanager
def _openmp(threads: int | None) -> Iterator[None]:
    """Sets OpenMP's thread count for the calling thread (torch's too, where both share a runtime), and puts it back."""
    if threads is None:
        yield
        return
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _matrix(vectors: np.ndarray, dim: int | None = None) -> np.ndarray:
    if vectors.ndim != 2 or vectors.shape[1] != (dim or vectors.shape[1]):
        raise InvalidArgument(f"expected (n, {dim or 'dim'}) float32 vectors, got shape {vectors.shape}")
    return np.ascontiguousarray(vectors, np.float32)


def _fault(index: Any) -> str | None:
    """What is wrong with an index that FAISS could read, or None."""
    faiss = _faiss()
    if not isinstance(index, faiss.IndexIVFScalarQuantizer | faiss.IndexIVFPQ | faiss.IndexIVFPQFastScan):
        return f"a {type(index).__name__}"
    if index.metric_type != faiss.METRIC_INNER_PRODUCT or not index.is_trained:
        return "not a trained inner-product index"
    held = index.invlists.compute_ntotal()
    if held != index.ntotal:
        return f"its lists hold {held} tokens, its header says {index.ntotal}"
    if index.quantizer.ntotal != index.nlist or index.quantizer.d != index.d:
        return f"{index.nlist} lists of dimension {index.d}, {index.quantizer.ntotal} centroids of {index.quantizer.d}"
    return None


def _reason(error: RuntimeError) -> str:
    return str(error).rsplit(": ", 1)[-1]
