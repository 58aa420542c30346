"""Families with one weight per token: uniCOIL and TILDEv2, relu(w·h_i + b) at the token's own id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...index.errors import InvalidArgument
from ...index.terms import Terms
from ..models.forward import Batch, Loaded, Model, Pool, batches, by_id, count, encode, placed
from ..models.vocabulary import Vocabulary, read_vocabulary
from ..models.weights import bert, longest, masked_lm, projection, read_weights, vocabulary_head
from .encoder import SparseOptions

_BUDGET = 8192
# Passages are read at this length by the TILDE expander.
_EXPANDER_LENGTH = 128
# The passage indicator that TILDE was trained with stands in the place of [CLS].
_PASSAGE = 1
# NLTK's English stop words that are one WordPiece: the list of the published code, without its question words.
_STOP_WORDS = """
a about above after again against ain all am an and any are aren as at be because been before being below between both
but by can couldn d did didn do does doesn doing don down during each few for from further had hadn has hasn have
haven having he her here hers herself him himself his i if in into is isn it its itself just ll m ma me mightn more
most mustn my myself needn no nor not now o of off on once only or other our ours ourselves out over own re s same
shan she should shouldn so some such t than that the their theirs them themselves then there these they this those
through to too under until up ve very was wasn we were weren while whom will with won wouldn y you your yours yourself
yourselves
"""
_QUESTION_WORDS = ["where", "how", "what", "when", "which", "why", "who"]


def unicoil(folder: Path, options: SparseOptions, device: str) -> Loaded:
    """uniCOIL: per id the maximum over a document's occurrences and the sum over a query's; no [CLS], but [SEP].

    Lin & Ma 2021, arXiv 2106.14807. Queries 128 tokens, documents 512.
    """
    model, vocabulary, keys, limit = _model(folder, options, device)
    lengths = min(options.query_length or 128, limit), min(options.document_length or 512, limit)
    return Loaded(
        keys,
        lengths,
        lambda texts: encode(model, vocabulary.ids(texts, lengths[1]), _weighted(keys, "max")),
        lambda texts: encode(model, vocabulary.ids(texts, lengths[0]), _weighted(keys, "sum")),
        vocabulary.names,
    )


def tildev2(folder: Path, options: SparseOptions, device: str) -> Loaded:
    """TILDEv2: per id the maximum over a document's occurrences; queries are counts of ids and need no model.

    Zhuang & Zuccon 2021, arXiv 2108.08513. Stop words, special tokens and pieces that are not of letters, digits, `_`
    or `-` carry no weight; a query of nothing else keeps them all. Queries 128 tokens, documents 192, with the
    expansion, if any.
    """
    model, vocabulary, keys, limit = _model(folder, options, device)
    lengths = min(options.query_length or 128, limit), min(options.document_length or 192, limit)
    stop = stop_ids(vocabulary, _STOP_WORDS.split())
    pool = _weighted(keys, "max", np.array(sorted(stop | vocabulary.special)))
    expand = None if options.expander is None else _expander(Path(options.expander).expanduser(), options, device, keys)

    def documents(texts: Sequence[str]) -> Terms:
        lines = vocabulary.ids(texts, lengths[1] if expand is None else min(lengths[1], _EXPANDER_LENGTH))
        return encode(model, lines if expand is None else _expanded(lines, expand(lines), lengths[1]), pool)

    def queries(texts: Sequence[str]) -> Terms:
        lines = vocabulary.bare(texts, lengths[0])
        return count([[i for i in line if i not in stop] or line for line in lines], keys)

    return Loaded(keys, lengths, documents, queries, vocabulary.names)


def stop_ids(vocabulary: Vocabulary, words: Sequence[str]) -> frozenset[int]:
    """Ids without weight in TILDEv2: stop words, `##s`, and pieces with other signs than letters, digits, `_` and
    `-`."""
    signs = {i for piece, i in vocabulary.pieces().items() if not re.fullmatch(r"##?.+|[A-Za-z0-9_-]*", piece)}
    return frozenset(signs | {i for word in [*words, "##s"] if (i := vocabulary.id_of(word)) is not None})


def _weighted(keys: int, reduce: str, without: np.ndarray | None = None) -> Pool:
    def pool(batch: Batch) -> Terms:
        kept = batch.tokens
        if without is not None:
            kept &= ~np.isin(batch.ids, without)
        texts = np.nonzero(kept)[0]
        return by_id(texts, batch.ids[kept], batch.output[:, :, 0].cpu().numpy()[kept], (len(kept), keys), reduce)

    return pool


def _model(folder: Path, options: SparseOptions, device: str) -> tuple[Model, Vocabulary, int, int]:
    weights = read_weights(folder)
    prefix = "coil_encoder." if any(key.startswith("coil_encoder.") for key in weights) else ""
    encoder = placed(bert(folder, weights, f"{prefix}bert."), options.dtype, device)
    matrix, bias = _projection(folder, weights, prefix, encoder.config.hidden_size)
    matrix, bias = matrix.to(device), bias.to(device)

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        hidden = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return torch.relu(hidden.float() @ matrix.T + bias)

    model = Model(run, device, encoder.config.pad_token_id or 0, _BUDGET)
    keys = encoder.config.vocab_size
    return model, read_vocabulary(folder, keys), keys, longest(encoder.config)


def _projection(folder: Path, weights: Mapping[str, Tensor], prefix: str, width: int) -> tuple[Tensor, Tensor]:
    # Files of both layouts exist with the projection inside and outside of the prefix.
    name = f"{prefix}tok_proj" if f"{prefix}tok_proj.weight" in weights else "tok_proj"
    matrix, bias = projection(folder, weights, name, width)
    if len(matrix) != 1:
        raise InvalidArgument(f"{folder}: {name}.weight gives {len(matrix)} values per token; this family has 1 weight")
    return matrix, bias


def _expander(folder: Path, options: SparseOptions, device: str, keys: int) -> Any:
    """TILDE (Zhuang & Zuccon 2021, SIGIR): a passage's likeliest terms, from the logits at its first position."""
    head = placed(masked_lm(folder), options.dtype, device)
    to_logits = vocabulary_head(folder, head)
    if head.config.vocab_size != keys:
        raise InvalidArgument(
            f"expander {folder} has {head.config.vocab_size} vocabulary ids; the checkpoint has {keys}"
        )
    stop = stop_ids(read_vocabulary(folder, keys), [*_STOP_WORDS.split(), *_QUESTION_WORDS, "definition"])

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        hidden = head.base_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return to_logits(hidden[:, :1])

    model = Model(run, device, head.config.pad_token_id or 0, _BUDGET)

    def expand(lines: Sequence[Sequence[int]]) -> list[list[int]]:
        passages = [[_PASSAGE, *line[1:]] for line in lines]
        found: list[list[int]] = [[] for _ in lines]
        for batch in batches(model, passages):
            best = batch.output[:, 0].topk(min(options.expansions, keys), dim=-1).indices.tolist()
            for number, ids in zip(batch.numbers, best, strict=True):
                found[number] = [i for i in ids if i not in stop and i not in set(passages[number])]
        return found

    return expand


def _expanded(lines: Sequence[list[int]], terms: Sequence[list[int]], length: int) -> list[list[int]]:
    """[CLS] passage [SEP] expansion [SEP], the expansion cut to what `length` leaves."""
    return [[*line, *more[: max(0, length - len(line) - 1)], line[-1]] for line, more in zip(lines, terms, strict=True)]
