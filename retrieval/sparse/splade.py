"""SPLADE and SPLADE-doc: families over the logits of a masked language model.

LexLIP's text side (Luo et al. 2023, arXiv 2302.02908) is `splade` too: log(1 + relu(max logits)), padding left out. Its
image side, and vectors that were computed elsewhere, come as precomputed `Terms` (`retrieval/offline/vectors.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...index.errors import InvalidArgument
from ...index.terms import Terms
from ..models.forward import Batch, Loaded, Model, Pool, count, dense_rows, encode, largest, masked_max, placed
from ..models.vocabulary import Vocabulary, read_vocabulary
from ..models.weights import longest, masked_lm
from .encoder import SparseOptions

# A batch holds this many rows of a whole vocabulary's logits (30522 floats each for BERT).
_BUDGET = 1024


def splade(folder: Path, options: SparseOptions, device: str) -> Loaded:
    """SPLADE: w_j = max_i (or Σ_i) log(1 + relu(logit_ij)), special tokens' columns kept (they were trained).

    Formal et al. 2021, arXiv 2107.05720 (sum) and 2109.10086 (max); 2207.03834 (two models). Queries 256 tokens,
    documents 512.
    """
    model, keys, limit = masked_model(folder, options, device)
    vocabulary = read_vocabulary(folder, keys)
    lengths = min(options.query_length or 256, limit), min(options.document_length or 512, limit)
    query = model
    if options.query_checkpoint is not None:
        query, query_keys, query_limit = masked_model(Path(options.query_checkpoint).expanduser(), options, device)
        lengths = min(lengths[0], query_limit), lengths[1]
        if query_keys != keys:
            raise InvalidArgument(
                f"query_checkpoint {options.query_checkpoint} has {query_keys} vocabulary ids, {folder} has {keys}; "
                "queries and documents must share a vocabulary"
            )
    pooling = options.pooling or "max"
    return Loaded(
        keys,
        lengths,
        lambda texts: encode(model, vocabulary.ids(texts, lengths[1]), pooled(pooling, options.top)),
        lambda texts: encode(query, vocabulary.ids(texts, lengths[0]), pooled(pooling)),
        vocabulary.names,
    )


def splade_doc(folder: Path, options: SparseOptions, device: str) -> Loaded:
    """SPLADE-doc: documents as `splade`; a query has weight 1 at each of its ids, without [CLS] and [SEP].

    Formal et al. 2021, arXiv 2109.10086, section 3.3.
    """
    documents = splade(folder, options, device)
    vocabulary = read_vocabulary(folder, documents.keys)
    length = documents.lengths[0]
    return Loaded(
        documents.keys,
        documents.lengths,
        documents.documents,
        lambda texts: count([sorted(set(line)) for line in _plain(vocabulary, texts, length)], documents.keys),
        vocabulary.names,
    )


def pooled(pooling: str, top: int | None = None) -> Pool:
    def pool(batch: Batch) -> Terms:
        if pooling == "max":
            # log(1 + relu(x)) never falls as x grows, so it may follow the maximum, which leaves it much less to do.
            weights = masked_max(batch).relu().log1p()
        else:
            weights = (batch.output.float().relu().log1p() * batch.mask[:, :, None]).sum(dim=1)
        return dense_rows(largest(weights, top))

    return pool


def masked_model(folder: Path, options: SparseOptions, device: str) -> tuple[Model, int, int]:
    """The model, the size of its vocabulary, and the tokens that it has positions for."""
    head = placed(masked_lm(folder), options.dtype, device)
    model = Model(
        lambda ids, mask: head(input_ids=ids, attention_mask=mask.long()).logits,
        device,
        head.config.pad_token_id or 0,
        _BUDGET,
    )
    return model, head.config.vocab_size, longest(head.config)


def _plain(vocabulary: Vocabulary, texts: Sequence[str], length: int) -> list[list[int]]:
    return [[i for i in line if i not in vocabulary.special] for line in vocabulary.ids(texts, length)]
