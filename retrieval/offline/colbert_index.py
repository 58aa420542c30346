"""An index that ColBERTv2 made, taken over code by code: nothing is encoded again, so
scores are those of its own formula."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...index.codecs.residual import BITS, Buckets, joined
from ...index.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from ...index.tokens import Tokens
from ..corpus import open_corpus
from ..retriever import Retriever

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError)


@dataclass(frozen=True)
class ColbertIndex:
    """The folder that ColBERT's indexer writes: metadata.json (or plan.json), centroids.pt, buckets.pt, and for every
    chunk its N.codes.pt, N.residuals.pt and doclens.N.json."""

    folder: Path

    @cached_property
    def plan(self) -> dict[str, Any]:
        """NotFound: no such folder. InvalidArgument: it is no index, or not one of 1, 2 or 4 bits."""
        found = next((p for p in (self.folder / "metadata.json", self.folder / "plan.json") if p.is_file()), None)
        if found is None:
            raise NotFound(f"{self.folder} has no metadata.json and no plan.json; give the folder of a ColBERT index")
        try:
            plan = json.loads(found.read_text())
            read = {"dim": int(plan["config"]["dim"]), "bits": int(plan["config"]["nbits"])}
            read["chunks"] = int(plan["num_chunks"])
        except _UNREADABLE as error:
            raise InvalidArgument(f"{found} is no plan of a ColBERT index: {error!r}") from None
        if read["bits"] not in BITS:
            raise InvalidArgument(f"{found}: nbits is {read['bits']}; 1, 2 and 4 can be taken over")
        return read

    @cached_property
    def buckets(self) -> Buckets:
        """DataLoss: files are missing, damaged, or do not fit each other."""
        centroids = self._tensors("centroids.pt")
        both = self._tensors("buckets.pt", 2)
        cutoffs, weights = (part.astype(np.float32) for part in both)
        known, dim = 2 ** self.plan["bits"], self.plan["dim"]
        if (
            centroids.ndim != 2
            or centroids.shape[1] != dim
            or (cutoffs.shape, weights.shape) != ((known - 1,), (known,))
        ):
            raise DataLoss(
                f"{self.folder}: centroids {centroids.shape}, cutoffs {cutoffs.shape} and weights {weights.shape} do not "
                f"fit {dim} dimensions of {self.plan['bits']} bits; make the index anew"
            )
        return Buckets(np.ascontiguousarray(centroids, np.float32), cutoffs, weights)

    def chunks(self) -> Iterator[Tokens]:
        """The documents of each chunk, their vectors as records of `Residual`. DataLoss as for `buckets`."""
        bytes_, centroids = self.plan["dim"] * self.plan["bits"] // 8, len(self.buckets.centroids)
        for chunk in range(self.plan["chunks"]):
            codes, packed = self._tensors(f"{chunk}.codes.pt"), self._tensors(f"{chunk}.residuals.pt")
            lengths = self._lengths(chunk)
            if codes.shape != (lengths.sum(),) or packed.shape != (len(codes), bytes_) or packed.dtype != np.uint8:
                raise DataLoss(
                    f"{self.folder}: chunk {chunk} has codes {codes.shape}, residuals {packed.shape} {packed.dtype} and "
                    f"{lengths.sum()} tokens by its doclens; make the index anew"
                )
            if len(codes) and not (codes.min() >= 0 and codes.max() < centroids):
                raise DataLoss(f"{self.folder}: chunk {chunk} names a centroid beyond the {centroids} there are")
            yield Tokens(joined(codes, packed), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def _lengths(self, chunk: int) -> np.ndarray:
        path = self.folder / f"doclens.{chunk}.json"
        try:
            return np.array(json.loads(path.read_text()), np.int64).reshape(-1)
        except _UNREADABLE as error:
            raise DataLoss(f"{path} holds no lengths of documents: {error}") from None

    def _tensors(self, name: str, count: int | None = None) -> Any:
        """A tensor as an array, or a tuple of `count`; nothing is unpickled but tensors."""
        path = self.folder / name
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            if count is None:
                return loaded.numpy()
            if len(loaded) != count:
                raise ValueError(f"{len(loaded)} tensors, not {count}")
            return [part.numpy() for part in loaded]
        except (*_UNREADABLE, AttributeError) as error:
            raise DataLoss(f"{path} does not load as plain tensors: {error}") from None


def import_colbert(
    source: str | Path,
    path: str | Path,
    *,
    texts: str | None = None,
    encoder: str | None = None,
    store: str = "auto",
    progress: Callable[[str, int, int], None] | None = None,
    **machine: Any,
) -> Retriever:
    """Makes a new collection of a ColBERTv2 or PLAID index; its passage numbers become ids.

    Args:
        source: the index's folder.
        path: a new or empty folder.
        texts: the collection that was indexed (collection.tsv, or whatever `open_corpus`
            reads), its ids 0, 1, 2, ...: payloads.
        encoder: the checkpoint that made the index, so that queries can be texts. None: queries are token vectors.
        progress: called as progress("import", chunks done, chunks).
        **machine: as for opening a `Retriever`.

    Raises:
        NotFound, InvalidArgument: `source` is no such index; the encoder has other dimensions.
        FailedPrecondition: `texts` are not those of the index.
        DataLoss: the index is damaged.
    """
    index = ColbertIndex(Path(source))
    plan, buckets = index.plan, index.buckets
    kept = {"store": store, "precision": f"residual:{plan['bits']}", "encoder": encoder}
    retriever = Retriever.create(path, dim=None if encoder else plan["dim"], **kept, **machine)
    try:
        if retriever.collection.dim != plan["dim"]:
            raise InvalidArgument(
                f"{encoder} has {retriever.collection.dim} dimensions, the index {plan['dim']}; give the checkpoint that made it"
            )
        with retriever.collection.builder() as builder:
            retriever.collection.schema.keep.learn(lambda: buckets)
            payloads, first = _payloads(texts), 0
            for done, tokens in enumerate(index.chunks(), 1):
                ids = [str(first + i) for i in range(len(tokens))]
                builder.add(ids, tokens, [_of(payloads, id) for id in ids] if payloads else None, encoded=True)
                first += len(tokens)
                if progress:
                    progress("import", done, plan["chunks"])
            if payloads and (more := next(payloads, None)):
                raise FailedPrecondition(
                    f"{texts} has {more['id']!r}, the index ends at {first - 1}; give its own texts"
                )
            builder.publish()
    except BaseException:
        retriever.close()
        raise
    return retriever


def _payloads(texts: str | None) -> Iterator[dict[str, Any]] | None:
    return iter(open_corpus(texts)) if texts else None


def _of(documents: Iterator[dict[str, Any]], id: str) -> dict[str, Any]:
    found = next(documents, None)
    if found is None or found["id"] != id:
        raise FailedPrecondition(
            f"the texts have {found['id'] if found else 'no more'!r} where the index has {id!r}; give the texts it was made of"
        )
    return {key: value for key, value in found.items() if key != "id"}
