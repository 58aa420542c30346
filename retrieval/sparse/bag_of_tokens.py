"""The binary token index (Zhou et al. 2024, arXiv 2405.01924, section 4.2): which ids a text has; no model runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse

from ...index.errors import InvalidArgument
from ...index.terms import Terms
from ..models.vocabulary import Vocabulary, bert_uncased
from .encoder import BINARY, SparseOptions, SparseSpec

FIRST = 999
"""Ids below are BERT's special and unused ones."""
_LENGTH = 128


class BagOfTokens:
    """Implements `SparseEncoder`: weight 1 for each id from `first` upward, on both sides.

    Against a query of `svdr` or `splade` it is the published beta search, Σ_{t ∈ d} w_q(t); a query of this one against
    documents of theirs is alpha search.
    """

    def __init__(self, vocabulary: Vocabulary, options: SparseOptions, *, name: str, first: int = FIRST) -> None:
        if options.top is not None or options.pooling is not None:
            raise InvalidArgument(f"{BINARY} has neither pooling nor top: every id counts 1")
        if options.dtype is not None:
            raise InvalidArgument(
                f"dtype is {options.dtype!r}, and {BINARY} has no model that could run in it; leave it out"
            )
        self._vocabulary, self._first = vocabulary, first
        lengths = options.query_length or _LENGTH, options.document_length or _LENGTH
        pieces = sorted(vocabulary.pieces().items())
        digest = hashlib.sha256(repr((pieces, first, lengths)).encode()).hexdigest()
        self.spec = SparseSpec(name, BINARY, len(vocabulary), *lengths, digest)

    def encode_documents(self, texts: Sequence[str]) -> Terms:
        return self._encode(texts, self.spec.document_length)

    def encode_queries(self, texts: Sequence[str]) -> Terms:
        return self._encode(texts, self.spec.query_length)

    def names(self, keys: Iterable[int]) -> list[str]:
        return self._vocabulary.names(keys)

    def _encode(self, texts: Sequence[str], length: int) -> Terms:
        lines = [sorted({i for i in line if i >= self._first}) for line in self._vocabulary.ids(texts, length)]
        indptr = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int64)
        keys = np.array([i for line in lines for i in line], np.int64)
        shape = (len(lines), len(self._vocabulary))
        return Terms(sparse.csr_array((np.ones(len(keys), np.float32), keys, indptr), shape=shape))


def embedded(options: SparseOptions) -> BagOfTokens:
    """Over BERT's uncased vocabulary, which comes with plait. FailedPrecondition: `tokenizers` is missing."""
    if options.family not in (None, BINARY):
        raise InvalidArgument(f"{BINARY} has no model, so it cannot be read as {options.family}; give a checkpoint")
    return BagOfTokens(Vocabulary(bert_uncased(), BINARY), options, name=BINARY)
