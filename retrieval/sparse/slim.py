"""SLIM: a sparse row for each token, from the logits of a masked language model."""

from __future__ import annotations

from pathlib import Path

from ...index.terms import Terms
from ..models.forward import Batch, Loaded, Pool, dense_rows, encode, largest
from ..models.vocabulary import read_vocabulary
from .encoder import SparseOptions
from .splade import masked_model


def slim(folder: Path, options: SparseOptions, device: str) -> Loaded:
    """SLIM: a row φ(x_i) = log(1 + relu(logits_i)) per token, its 20 largest entries (ties too); no [CLS], but [SEP].

    Li et al. 2023, arXiv 2302.06587, section 3. Queries 256 tokens, documents 512. Collections search the rows through
    postings (`index/sparse/query.py`).
    """
    model, keys, limit = masked_model(folder, options, device)
    vocabulary = read_vocabulary(folder, keys)
    lengths = min(options.query_length or 256, limit), min(options.document_length or 512, limit)
    pool = token_rows(options.top or 20)
    return Loaded(
        keys,
        lengths,
        lambda texts: encode(model, vocabulary.ids(texts, lengths[1]), pool),
        lambda texts: encode(model, vocabulary.ids(texts, lengths[0]), pool),
        vocabulary.names,
    )


def token_rows(top: int) -> Pool:
    def pool(batch: Batch) -> Terms:
        tokens = batch.tokens
        logits = batch.output[batch.mask.new_tensor(tokens)]
        return dense_rows(largest(logits.relu(), top).float().log1p(), tokens.sum(axis=1))

    return pool
