"""The offline route: a corpus surveyed, estimated, encoded batch by batch, resumable, published at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from ...index.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from ...index.stores import Progress, plan, token_bytes
from ...index.writing.bulk import BUILD, Builder
from ..corpus import Corpus, Survey, document_text, repeated, survey
from ..models.encoded import telling
from ..retriever import Retriever
from ..text.encoding import SAMPLE
from ..text.learning import learn
from ..text.term_side import model_free, stored_fields
from .ahead import ahead

_TERM_BYTES = 8
"""A key and its weight."""
_VECTOR_BYTES = 3
"""A dimension of a global vector, in float16 and in a byte."""
_PLAIN = ("exact", "contextual")
"""Stores without a codebook."""
_PROBE = 24
"""Documents encoded to foretell a build's size and time."""


@dataclass(frozen=True)
class Estimate:
    """What a build will cost, judged from a few of its documents."""

    documents: int
    tokens: int
    """After the reducers."""
    bytes: int
    """On disk, all files."""
    seconds: float
    """Encoding and reducing."""
    tokens_per_s: float
    """Tokens encoded per second, before the reducers; documents where there are terms alone."""
    coded: bool = False
    """Whether codes are learned and recall is measured when all is encoded: time that `seconds` leaves out."""
    there: int = 0
    """Documents that an interrupted build has added already; `seconds` is for the others."""


def estimate(retriever: Retriever, surveyed: Survey, defer: bool = False) -> Estimate:
    """Encodes a few sampled documents and scales up by the characters; with `defer`, without what comes later."""
    texts = [document_text(d) for d in surveyed.sample]
    probe = surveyed.sample[:: max(1, len(texts) // _PROBE)]
    next(retriever.batches(probe[:1], defer))  # loads what is loaded once: no cost of a document
    start = time.perf_counter()
    batch = next(retriever.batches(probe, defer))
    seconds = time.perf_counter() - start
    share, encoded = surveyed.documents / max(1, len(texts)), len(probe)
    size, count = surveyed.characters + 120 * surveyed.documents, 0
    if (tokens := batch[1]) is not None and tokens.dim:
        # Tokenising is cheap, so lengths come from the whole sample; what the reducers keep of them, from the probe.
        whole, encoded = (
            len(retriever.encoding.encoder.tokenize(some).vectors)
            for some in (texts, texts[:: max(1, len(texts) // _PROBE)])
        )
        scale = share * whole / max(1, encoded)
        count = int(len(tokens.vectors) * scale)
        columns = token_bytes(retriever.collection.store, count, retriever.collection.schema.codec) + 5
        size += int(count * (columns + 8 * (1 if tokens.span_offsets is None else 2)))
    else:
        scale = surveyed.documents / max(1, len(probe))
    weights = sum(terms.rows.nnz for terms in batch[3].values())
    size += int(_TERM_BYTES * weights * surveyed.documents / max(1, len(probe)))
    size += _VECTOR_BYTES * retriever.collection.vector * surveyed.documents
    coded = bool(count) and plan(retriever.collection.store, count, retriever.collection.dim) not in _PLAIN
    return Estimate(surveyed.documents, count, size, seconds * scale, encoded / max(seconds, 1e-9), coded)


def build(
    retriever: Retriever,
    corpus: Corpus,
    progress: Progress | None = None,
    announce: Any = None,
    restart: bool = False,
    measure: bool = True,
    defer: bool = False,
) -> dict[str, Any]:
    """Fills an empty collection from a corpus; goes on where an interrupted build of the same corpus stopped.

    Args:
        progress: called as progress(stage, done, total) while working.
        announce: called once with the `Estimate`, before anything is encoded at length.
        restart: drop what an interrupted build left.
        measure: end by measuring the recall of search parameters with queries drawn from the documents.
        defer: what a model computes comes later, as in `Retriever.upsert`; so nothing is measured.

    Raises:
        InvalidArgument: the corpus is empty, or an id occurs twice in it; nothing can be deferred.
        AlreadyExists: the collection holds published documents.
        FailedPrecondition: the corpus does not begin with the documents that an interrupted build added.
    """
    with retriever.collection.builder(BUILD) as builder:
        if len(retriever):
            raise AlreadyExists(f"{retriever.collection.path} is built already; choose another folder, or add to it")
        if restart:
            builder.discard()
        surveyed = survey(_counted(corpus, progress), SAMPLE)
        if not surveyed.documents:
            raise InvalidArgument(f"{corpus.name} holds no documents; nothing was built")
        if surveyed.repeats and (error := repeated(corpus)):
            raise error
        if not defer:
            learn(retriever, builder, surveyed.sample)
        expected = _left(estimate(retriever, surveyed, defer), len(builder.staged_ids))
        if announce:
            announce(expected)
        resumed = _stream(retriever, builder, corpus, surveyed.documents, progress, defer)
        added = builder.publish(progress)
    if measure and not defer and retriever.has_tokens and retriever.system.scoring.tokens == "all":
        retriever.calibrate(progress=progress and partial(progress, "measure"))
    return {"documents": added, "resumed_after": resumed, "estimate": asdict(expected)}


def _stream(
    retriever: Retriever, builder: Builder, corpus: Corpus, total: int, progress: Progress | None, defer: bool
) -> int:
    """Encodes and adds what is not staged yet. Returns how many documents were already there."""
    behind = builder.staged_ids
    documents = iter(corpus)
    for id in behind:
        found = next(documents, {"id": None})["id"]
        if found != id:
            raise FailedPrecondition(
                f"the interrupted build has {id!r} where the corpus now has {found!r}; build with --restart"
            )
    way = _Way(len(behind), total, 0 if defer else _models(retriever), "add" if defer else "encode", progress)
    with telling(way.encoded), closing(ahead(retriever.batches(documents, defer))) as batches:
        for batch in batches:
            builder.add(*batch, defer=defer)
            way.added(len(batch[0]))
    return len(behind)


class _Way:
    """How far a build is: documents that are durable, or encoded and soon to be."""

    def __init__(self, done: int, total: int, models: int, stage: str, progress: Progress | None):
        self._done, self._total, self._models, self._stage, self._progress = done, total, models, stage, progress
        self._texts = done * models
        """Texts that the models have encoded; each model sees every document."""
        self._tell()

    def encoded(self, texts: int) -> None:
        self._texts += texts
        self._tell()

    def added(self, documents: int) -> None:
        self._done += documents
        # What came out of a cache was told by no model.
        self._texts = max(self._texts, self._done * self._models)
        self._tell()

    def _tell(self) -> None:
        if self._progress:
            seen = self._texts // self._models if self._models else self._done
            self._progress(self._stage, min(max(seen, self._done), self._total), self._total)


def _models(retriever: Retriever) -> int:
    """Models that see every document of a build."""
    sparse = [field for field in stored_fields(retriever.settings).values() if not model_free(field["name"])]
    return len(sparse) + retriever.has_tokens


def _left(expected: Estimate, there: int) -> Estimate:
    """The estimate for what an interrupted build has not done yet."""
    share = 1 - min(there, expected.documents) / max(1, expected.documents)
    return replace(expected, seconds=expected.seconds * share, there=there)


def _counted(corpus: Corpus, progress: Progress | None) -> Iterable[dict[str, Any]]:
    for number, document in enumerate(corpus, 1):
        if progress and number % 10_000 == 0:
            progress("survey", number, number)
        yield document
