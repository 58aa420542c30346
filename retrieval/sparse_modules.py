"""SPLADE checkpoints in sentence-transformers' layout, a query side without a model (`SparseStaticEmbedding`) included."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
from transformers.utils import logging

from ..index.errors import InvalidArgument
from ..index.terms import Terms
from .forward import Loaded
from .sparse import SparseOptions
from .weights import longest

_BATCH = 8
_LENGTHS = (256, 512)


def sentence_transformers(folder: Path, options: SparseOptions, device: str) -> Loaded:
    """Runs the folder's modules as they are (pooling, activation, `max_active_dims`, prompts and routes are its own)."""
    if options.pooling is not None:
        raise InvalidArgument(f"pooling is {options.pooling!r}, but {folder} says its own pooling; leave it out")
    logging.disable_progress_bar()
    try:
        model = SparseEncoder(str(folder), device=device, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, LookupError, RuntimeError, ImportError, pickle.UnpicklingError) as error:
        raise InvalidArgument(f"{folder} does not load as a sentence-transformers sparse model: {error}") from error
    model.float().eval()
    sides = {task: _first(model, task) for task in ("query", "document")}
    lengths = (
        _settle(sides["query"], options.query_length, _LENGTHS[0]),
        _settle(sides["document"], options.document_length, _LENGTHS[1]),
    )
    # Before its first run, a pooling module may not know its own width.
    keys = int(model.encode_document(["a"]).shape[-1])
    # Both sides may share one module, whose length is state.
    lock = threading.Lock()

    def run(texts: Sequence[str], task: str, length: int, top: int | None) -> Terms:
        encode = model.encode_query if task == "query" else model.encode_document
        with lock:
            _limit(sides[task], length)
            # A static side cannot run a batch in which no text has a token.
            filled = [i for i, text in enumerate(texts) if _has_tokens(sides[task], text)]
            given = [texts[i] for i in filled]
            rows = _rows(encode(given, batch_size=_BATCH, max_active_dims=top), keys) if filled else _none(keys)
        places = np.zeros(len(texts) + 1, np.int64)
        places[np.array(filled, np.int64) + 1] = np.diff(rows.indptr)
        return Terms(sparse.csr_array((rows.data, rows.indices, np.cumsum(places)), shape=(len(texts), keys)))

    def names(ids: Iterable[int]) -> list[str]:
        pieces = sides["document"].tokenizer.convert_ids_to_tokens([int(i) for i in ids])
        return [piece or f"[{i}]" for piece, i in zip(pieces, ids, strict=True)]

    return Loaded(
        keys,
        lengths,
        lambda texts: run(texts, "document", lengths[1], options.top),
        lambda texts: run(texts, "query", lengths[0], None),
        names,
    )


def _first(model: Any, task: str) -> Any:
    """The module that reads the text on that side."""
    module = model[0]
    if isinstance(module, Router):
        routes: Any = module.sub_modules
        if task not in routes:
            raise InvalidArgument(f"the model routes {', '.join(routes)}, but not {task}; plait needs both sides")
        module = routes[task][0]
    if not isinstance(module, Transformer | SparseStaticEmbedding):
        raise InvalidArgument(f"the model reads its {task} with {type(module).__name__}; plait needs a text model")
    return module


def _settle(module: Any, wanted: int | None, usual: int) -> int:
    limit = longest(module.config) if isinstance(module, Transformer) else None
    # Tokenizers without a limit say 10^30.
    own = min(module.max_seq_length or usual, usual)
    return min(wanted or own, limit) if limit is not None else wanted or own


def _limit(module: Any, length: int) -> None:
    module.max_seq_length = length
    if isinstance(module, SparseStaticEmbedding):
        tokenizer: Any = module.tokenizer
        tokenizer.model_max_length = length


def _has_tokens(module: Any, text: str) -> bool:
    return isinstance(module, Transformer) or bool(module.tokenizer(text, add_special_tokens=False)["input_ids"])


def _rows(tensor: Any, keys: int) -> Any:
    matrix = torch.Tensor.coalesce(tensor).cpu()
    at, values = matrix.indices().numpy(), matrix.values().float().numpy()
    rows = sparse.csr_array((values, (at[0], at[1])), shape=(matrix.shape[0], keys))
    rows.eliminate_zeros()
    return rows


def _none(keys: int) -> Any:
    return sparse.csr_array((0, keys), dtype=np.float32)
