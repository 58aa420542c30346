"""SVDR, the semi-parametric disentangled retriever (Zhou et al. 2024, arXiv 2405.01924, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scipy import sparse
from torch import Tensor
from torch.nn.functional import elu, layer_norm

from ...index.errors import InvalidArgument
from ...index.terms import Terms
from ..models.forward import Batch, Loaded, Model, Pool, dense_rows, encode, largest, masked_max, placed
from ..models.intact import read_json
from ..models.vocabulary import read_vocabulary
from ..models.weights import bert, longest, read_weights
from .bag_of_tokens import FIRST
from .encoder import SparseOptions

_BUDGET = 1024
# torch's LayerNorm, which the published code uses as it is; BERT's own has 1e-12.
_EPSILON = 1e-5


def svdr(folder: Path, options: SparseOptions, device: str) -> Loaded:
    """v_j = max_i (elu(ln(h_i)·e_j) + 1), the 768 largest, where e_j are the word embeddings of ids from 999 upward.

    Keys are the vocabulary's own ids, so that the binary token index (`retrieval/sparse/bag_of_tokens.py`) fits. The
    published code lets padding positions enter the maximum, which makes a vector depend on its batch; here they are
    left out. Queries 128 tokens, documents 256, or what config.json says (`max_len`, `topk`, `shift_vocab_num`).
    """
    weights, config = read_weights(folder), read_json(folder / "config.json", {})
    own = any(key.startswith("encoder_q.") for key in weights)
    document, document_settings = _side(folder, weights, config, "encoder_p", options, device)
    query, query_settings = (
        _side(folder, weights, config, "encoder_q", options, device) if own else (document, document_settings)
    )
    keys, limit, first = (document_settings[name] for name in ("keys", "limit", "first"))
    lengths = (
        min(options.query_length or query_settings["max_len"] or 128, query_settings["limit"]),
        min(options.document_length or document_settings["max_len"] or 256, limit),
    )
    vocabulary = read_vocabulary(folder, keys)
    top = options.top or document_settings["topk"] or 768
    return Loaded(
        keys,
        lengths,
        lambda texts: encode(document, vocabulary.ids(texts, lengths[1]), _pooled(top, first)),
        lambda texts: encode(query, vocabulary.ids(texts, lengths[0]), _pooled(top, first)),
        vocabulary.names,
    )


def _side(
    folder: Path,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    name: str,
    options: SparseOptions,
    device: str,
) -> tuple[Model, dict[str, Any]]:
    settings = config.get(name) or {}
    encoder = placed(bert(folder, weights, f"{name}.bert_model.", settings), options.dtype, device)
    missing = [key for key in (f"{name}.ln.weight", f"{name}.ln.bias") if key not in weights]
    if missing:
        raise InvalidArgument(f"{folder} lacks {', '.join(missing)}: the layer norm before the vocabulary product")
    if settings.get("pooling", "max") != "max" or settings.get("norm"):
        raise InvalidArgument(f"{folder}: {name} asks for mean pooling or unit vectors; plait has max pooling only")
    scale, shift = (weights[f"{name}.ln.{part}"].to(device) for part in ("weight", "bias"))
    first = settings.get("shift_vocab_num", FIRST)
    table = encoder.get_input_embeddings().weight[first:]

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        hidden = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        normed = layer_norm(hidden.float(), (hidden.shape[-1],), scale, shift, _EPSILON)
        return normed.to(table.dtype) @ table.T

    facts = {"keys": encoder.config.vocab_size, "limit": longest(encoder.config), "first": first}
    facts |= {key: settings.get(key) for key in ("max_len", "topk")}
    return Model(run, device, encoder.config.pad_token_id or 0, _BUDGET), facts


def _pooled(top: int, first: int) -> Pool:
    def pool(batch: Batch) -> Terms:
        # elu never falls, so it may follow the maximum.
        weights = largest(elu(masked_max(batch)) + 1, top)
        rows = dense_rows(weights).rows
        shape = (rows.shape[0], rows.shape[1] + first)
        return Terms(sparse.csr_array((rows.data, rows.indices + first, rows.indptr), shape=shape))

    return pool
