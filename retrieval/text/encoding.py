"""The way of a text to stored tokens: encoder, reducers in order, projection. Queries
take the same way without reducers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...index.errors import FailedPrecondition
from ...index.tokens import Tokens
from ..encoders.encoder import Encoder
from ..reducers import projection
from ..reducers.recipe import Statistics, Step, count, needs_statistics, reduce, stop_ids

SAMPLE = 2048
"""Documents from which document frequencies and axes are learned."""
_FIT_TOKENS = 1 << 16
"""Tokens encoded to fit a projection. More take longer; fewer let the axes depend on which documents were drawn."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """How a collection turns texts into tokens."""

    encoder: Encoder
    steps: tuple[Step, ...] = ()
    dim: int | None = None
    """Dimensions after the projection; None: the encoder's own."""
    statistics: Statistics | None = None
    axes: np.ndarray | None = None
    cache: Path | None = None
    """A folder that keeps encoder output by content, so that evaluation runs with other reducers need not encode again.
    """

    def fit(self, sample: Sequence[str]) -> Encoding:
        """Learns from sample texts what the steps (document frequencies) and the projection (axes) need."""
        fitted = self
        if needs_statistics(self.steps):
            counted = count(
                self.encoder.tokenize(sample), self.encoder.spec.vocabulary, stop_ids(self.encoder.tokenize)
            )
            fitted = replace(fitted, statistics=counted)
        if self.dim is not None:
            tokens = len(self.encoder.tokenize(sample).vectors)
            spread = sample[:: max(1, round(tokens / _FIT_TOKENS))]
            fitted = replace(fitted, axes=projection.fit(fitted.reduced(spread).vectors, self.dim))
        return fitted

    @property
    def fitted(self) -> bool:
        return (self.statistics is not None or not needs_statistics(self.steps)) and (
            self.axes is not None or not self.dim
        )

    def learned(self) -> dict[str, bytes]:
        """What `fit` learned, as it is stored."""
        out: dict[str, bytes] = {}
        if self.statistics is not None:
            out["document_frequency"] = projection.to_bytes(self.statistics.document_frequency)
            out["stop_ids"] = projection.to_bytes(self.statistics.stop_ids)
            out["sampled"] = projection.to_bytes(np.array(self.statistics.documents))
        if self.axes is not None:
            out["axes"] = projection.to_bytes(self.axes)
        return out

    def restored(self, resource: Callable[[str], bytes | None]) -> Encoding:
        """With what was learned and stored before, read by name."""
        stored = {k: resource(k) for k in ("document_frequency", "stop_ids", "sampled", "axes")}
        arrays = {k: projection.from_bytes(v) for k, v in stored.items() if v is not None}
        statistics = None
        if "sampled" in arrays:
            statistics = Statistics(int(arrays["sampled"]), arrays["document_frequency"], arrays["stop_ids"])
        return replace(self, statistics=statistics, axes=arrays.get("axes"))

    def documents(self, texts: Sequence[str]) -> Tokens:
        """Tokens ready to be stored. FailedPrecondition: not fitted yet."""
        if not self.fitted:
            raise FailedPrecondition("the recipe has seen no sample of the collection yet; call fit first")
        return self._project(self.reduced(texts))

    def queries(self, texts: Sequence[str]) -> Tokens:
        tokens = self._encode("query", self.encoder.encode_queries, texts)
        return self._project(reduce(tokens, [s for s in self.steps if s.spec == "single"]))

    def reduced(self, texts: Sequence[str]) -> Tokens:
        tokens = self._encode("document", self.encoder.encode_documents, texts)
        return reduce(tokens, self.steps, self.statistics)

    def _project(self, tokens: Tokens) -> Tokens:
        return tokens if self.axes is None else projection.project(tokens, self.axes)

    def _encode(self, side: str, encode: Callable[[Sequence[str]], Tokens], texts: Sequence[str]) -> Tokens:
        """Rounded to the float16 of the store at once, so that a cached run and a fresh one agree to the last bit."""
        if self.cache is None:
            return _half(encode(texts))
        key = hashlib.sha256("\0".join([self.encoder.spec.fingerprint, side, *texts]).encode()).hexdigest()
        path = self.cache / f"{key}.npz"
        if not path.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            columns = {k: v for k, v in vars(_half(encode(texts))).items() if v is not None}
            unfinished = path.with_suffix(f".{os.getpid()}.npz")
            np.savez(unfinished, allow_pickle=False, **columns)
            unfinished.replace(path)
        with np.load(path, allow_pickle=False) as stored:
            return Tokens(**stored)


def _half(tokens: Tokens) -> Tokens:
    return tokens.with_vectors(tokens.vectors.astype(np.float16))
