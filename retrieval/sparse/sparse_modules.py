"""SPLADE checkpoints in sentence-transformers' layout, a query side without a model
(`SparseStaticEmbedding`) included."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
from sentence_transformers.util import select_max_active_dims
from transformers.utils import logging

from ...index.errors import InvalidArgument
from ...index.terms import Terms
from ..encoders.layout import prompt_of
from ..models.encoded import encoded
from ..models.forked import claim_torch
from ..models.forward import Loaded, by_length, dense_rows, joined, moved, placed
from ..models.intact import read_json
from ..models.vocabulary import check_vocabulary
from ..models.weights import UNREADABLE, check_finite, check_model, longest
from .encoder import SparseOptions

# Padded tokens of one batch: so many rows of a whole vocabulary's logits.
_BUDGET = 1024
_LENGTHS = (256, 512)


def sentence_transformers(folder: Path, options: SparseOptions, device: str) -> Loaded:
    """Runs the folder's modules as they are (pooling, activation, `max_active_dims`,
    prompts and routes are its own)."""
    if options.pooling is not None:
        raise InvalidArgument(f"pooling is {options.pooling!r}, but {folder} says its own pooling; leave it out")
    model = _opened(folder, options, device)
    sides = {task: _first(model, task) for task in ("query", "document")}
    lengths = {
        "query": _settle(sides["query"], options.query_length, _LENGTHS[0]),
        "document": _settle(sides["document"], options.document_length, _LENGTHS[1]),
    }
    # Before its first run, a pooling module may not know its own width.
    keys = _rows(model, ["a"], "document", None).shape[1]
    # Both sides may share one module, whose length is state.
    lock = threading.Lock()

    def run(texts: Sequence[str], task: str, top: int | None) -> Terms:
        with lock:
            _limit(sides[task], lengths[task])
            # A static side cannot run a batch in which no text has a token.
            filled = [i for i, text in enumerate(texts) if _has_tokens(sides[task], text)]
            sizes = np.minimum([len(texts[i]) + 4 for i in filled], lengths[task])
            batches = [[filled[i] for i in batch] for batch in by_length(sizes, _BUDGET) if batch]
            parts = []
            for batch in batches:
                parts.append(dense_rows(_rows(model, [texts[i] for i in batch], task, top)))
                encoded(len(batch))
        empty = np.setdiff1d(np.arange(len(texts)), np.array(filled, np.int64))
        parts.append(Terms(sparse.csr_array((len(empty), keys), dtype=np.float32)))
        return joined(parts).take(np.argsort(np.concatenate([*batches, empty])))

    def names(ids: Iterable[int]) -> list[str]:
        pieces = sides["document"].tokenizer.convert_ids_to_tokens([int(i) for i in ids])
        return [piece or f"[{i}]" for piece, i in zip(pieces, ids, strict=True)]

    return Loaded(
        keys,
        (lengths["query"], lengths["document"]),
        lambda texts: run(texts, "document", options.top),
        lambda texts: run(texts, "query", None),
        names,
    )


def _opened(folder: Path, options: SparseOptions, device: str) -> SparseEncoder:
    """Its transformers in their precision; what stands behind them, in float32."""
    logging.disable_progress_bar()
    try:
        model = SparseEncoder(str(folder), device=device, trust_remote_code=False, local_files_only=True)
    except UNREADABLE as error:
        raise InvalidArgument(f"{folder} does not load as a sentence-transformers sparse model: {error}") from error
    model.float().eval()
    check_finite(folder, model)
    for source, module in _parts(folder, model):
        if isinstance(module, Transformer):
            check_model(source, module.model, module.tokenizer)
            placed(module, options.dtype, device).register_forward_hook(_widened)
        elif isinstance(module, SparseStaticEmbedding):
            check_vocabulary(source, module.tokenizer.get_vocab(), len(module.weight))
    return model


def _parts(folder: Path, model: Any) -> Iterator[tuple[Path, Any]]:
    """The modules of a model, those behind routes included, each with the folder that it came from."""
    for entry, module in zip(read_json(folder / "modules.json", [{}]), list(model), strict=False):
        place = folder / entry.get("path", "")
        if not isinstance(module, Router):
            yield place, module
            continue
        routes: Any = module.sub_modules
        for task, names in read_json(place / "router_config.json", {}).get("structure", {}).items():
            yield from ((place / name, part) for name, part in zip(names, routes[task], strict=False))


def _widened(module: Any, inputs: Any, features: dict[str, Any]) -> dict[str, Any]:
    floats = {k: v for k, v in features.items() if isinstance(v, torch.Tensor) and v.is_floating_point()}
    return {**features, **{name: value.float() for name, value in floats.items()}}


def _rows(model: Any, texts: list[str], task: str, top: int | None) -> torch.Tensor:
    """(texts, keys) float32 on the model's device."""
    claim_torch()
    top = top or model.max_active_dims
    prompt = prompt_of(model, task)
    if prompt is None:
        prompt = model.prompts.get(model.default_prompt_name)
    features = model.preprocess(texts, prompt=prompt, task=task)
    there = {name: moved(one, model.device) if isinstance(one, torch.Tensor) else one for name, one in features.items()}
    with torch.inference_mode():
        rows = model(there, task=task, **({"max_active_dims": top} if top else {}))["sentence_embedding"]
        return select_max_active_dims(rows, max_active_dims=top) if top else rows


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
