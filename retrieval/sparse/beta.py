"""SVDR's semi-parametric search (Zhou et al. 2024, arXiv 2405.01924, section 4): documents are
kept as which ids they have.

No model runs when documents come. A query is embedded, and finds by Σ_{t ∈ d} w_q(t) (beta search); the best may then
be embedded as well and ranked by the product of both embeddings (late parametric).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...index.kernels.terms import sparse_maxsim
from ...index.sparse.search import TermMatch, match_rows
from ...index.term_rows import from_terms
from ...index.terms import Terms
from ..models.folder import locate
from ..models.vocabulary import read_vocabulary
from .bag_of_tokens import FIRST, BagOfTokens
from .encoder import SparseEncoder, SparseOptions, SparseSpec
from .load import load_sparse_encoder

Embed = Callable[[Sequence[str]], Terms]
"""Texts of documents to one row each."""


@dataclass(frozen=True, eq=False)
class Beta:
    """Implements `SparseEncoder`: documents as presence of ids, queries as a checkpoint embeds them."""

    spec: SparseSpec
    checkpoint: SparseEncoder
    bag: BagOfTokens

    def encode_documents(self, texts: Sequence[str]) -> Terms:
        return self.bag.encode_documents(texts)

    def encode_queries(self, texts: Sequence[str]) -> Terms:
        return self.checkpoint.encode_queries(texts)

    def embed(self, texts: Sequence[str]) -> Terms:
        """Documents as the checkpoint embeds them."""
        return self.checkpoint.encode_documents(texts)

    def names(self, keys: Iterable[int]) -> list[str]:
        return self.checkpoint.names(keys)


def load_beta(name: str, options: SparseOptions, *, device: str = "cpu", threads: int | None = None) -> Beta:
    """Around a checkpoint of SVDR, or any that gives documents one row each. Errors: as `load_sparse_encoder`."""
    checkpoint = load_sparse_encoder(name, options, device=device, threads=threads)
    folder = locate(name)
    first = FIRST
    if checkpoint.spec.family == "svdr":
        first = (json.loads((folder / "config.json").read_text()).get("encoder_p") or {}).get("shift_vocab_num", FIRST)
    bag_options = SparseOptions(document_length=options.document_length)
    bag = BagOfTokens(read_vocabulary(folder, checkpoint.spec.vocabulary), bag_options, name=name, first=first)
    both = hashlib.sha256((checkpoint.spec.fingerprint + bag.spec.fingerprint).encode()).hexdigest()
    spec = replace(checkpoint.spec, family="beta", document_length=bag.spec.document_length, fingerprint=both)
    return Beta(spec, checkpoint, bag)


def late_scores(embed: Embed, query: Terms, texts: Sequence[str]) -> np.ndarray:
    """(texts,) float32 products of one query's row with the embeddings of documents."""
    if not texts:
        return np.zeros(0, np.float32)
    return sparse_maxsim(from_terms(query), from_terms(embed(texts)))[0]


def late_match(embed: Embed, query: Terms, text: str) -> TermMatch:
    """The keys behind one of the `late_scores`; the other texts that were embedded with it may round it differently."""
    return match_rows(from_terms(query), from_terms(embed([text])))
