"""The encoder over a sentence-transformers model: token vectors with their ids, spans and roles."""

from __future__ import annotations

import string
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch.nn.functional import normalize

from ...index.stopping import steps
from ...index.tokens import Role, Tokens, concatenate
from ..models.encoded import encoded
from ..models.forked import claim_torch
from ..models.forward import by_length, moved
from ..models.shortening import shortened
from .encoder import EncoderOptions, EncoderSpec
from .layout import open_model, prompt_of, settle

# Padded tokens of one batch. Larger: fewer calls; memory grows with it.
_BATCH = 8192
# Attention is kept for all layers while a batch runs, and is quadratic in the text's length.
_BATCH_WITH_ATTENTION = 2048
_PLACES = {"text": {"return_offsets_mapping": True, "return_special_tokens_mask": True}}


class CheckpointEncoder:
    """Implements `Encoder`. Batches of several threads run one after the other."""

    def __init__(
        self, folder: Path, *, name: str, family: str, options: EncoderOptions, device: str, fingerprint: str
    ) -> None:
        self._model = open_model(folder, family, device=device, options=options)
        self._transformer: Any = self._model[0]
        query, document, fill = settle(self._transformer, family, options)
        tokenizer: Any = self._model.tokenizer
        head = self._transformer if family == "plain" else self._model
        dim = int(head.get_embedding_dimension() or 0)
        pieces = tokenizer.get_vocab()
        self.spec = EncoderSpec(name, family, dim, query, document, fill, max(pieces.values()) + 1, fingerprint)
        # SentencePiece's word start stands before the text's first character, yet its offset covers that character.
        self._blank = [i for piece, i in pieces.items() if not piece.strip("▁")]
        self._opening = [i for i in (tokenizer.cls_token_id, tokenizer.bos_token_id) if i is not None]
        self._attention: torch.Tensor | None = None
        self._listens = options.attention
        if self._listens:
            self._listen(self._transformer.model)
        # A fast tokenizer holds its truncation as state, so two calls must not overlap.
        self._lock = threading.Lock()

    def encode_documents(self, texts: Sequence[str]) -> Tokens:
        return self._encode(texts, "document", run=True)

    def encode_queries(self, texts: Sequence[str]) -> Tokens:
        return self._encode(texts, "query", run=True)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        return self._encode(texts, "document", run=False)

    def _encode(self, texts: Sequence[str], task: str, *, run: bool) -> Tokens:
        if not texts:
            return self._encode([""], task, run=run).take([])
        longest = self.spec.query_length if task == "query" else self.spec.document_length
        shortest = self.spec.query_expansion if task == "query" else 0
        sizes = np.clip([len(text) + 4 for text in texts], shortest, longest)
        budget = _BATCH_WITH_ATTENTION if self._listens else _BATCH
        batches, parts = list(by_length(sizes, budget)), []
        for batch in steps(batches):
            with self._lock:
                # The prompt only leaves a text fewer tokens.
                short = shortened(self._model.tokenizer.backend_tokenizer, [texts[i] for i in batch], longest)
                parts.append(self._batch(short, task, run=run))
            if run:
                encoded(len(batch))
        return concatenate(parts).take(np.argsort(np.concatenate(batches)))

    def _batch(self, texts: list[str], task: str, *, run: bool) -> Tokens:
        prompt = prompt_of(self._model, task) or ""
        features: dict[str, Any] = self._model.preprocess(texts, prompt=prompt, task=task, processing_kwargs=_PLACES)
        ids, attended = features["input_ids"].numpy(), features["attention_mask"].bool().numpy()
        # Expansion may widen the ids, but not what the tokenizer said about them.
        widen = ids.shape[1] - features["offset_mapping"].shape[1]
        places = np.pad(features.pop("offset_mapping").numpy(), ((0, 0), (0, widen), (0, 0)))
        special = np.pad(features.pop("special_tokens_mask").bool().numpy(), ((0, 0), (0, widen)))
        places[np.isin(ids, self._blank)] = 0
        masks = features["query_expansion_positions"].numpy() if self._expands(task) else np.zeros_like(attended)
        with torch.inference_mode():
            features = self._forward(features, task) if run else self._mask(features, task)
        kept = _kept(features["attention_mask"].bool().cpu().numpy() | masks, attended)
        spans, roles = _surfaces(texts, np.nonzero(kept)[0], places[kept], len(prompt))
        roles[special[kept]] = Role.SEP
        roles[special[kept] & np.isin(ids[kept], self._opening)] = Role.CLS
        roles[masks[kept]] = Role.MASK
        listens = self._listens and run and task == "document"
        return Tokens(
            _unit(features["token_embeddings"], kept) if run else np.zeros((int(kept.sum()), 0), np.float32),
            np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64),
            ids[kept].astype(np.uint32),
            spans,
            weights=self._received(attended)[kept] if listens else None,
            roles=roles,
            globals_=_unit(features["sentence_embedding"]) if "sentence_embedding" in features else None,
        )

    def _expands(self, task: str) -> bool:
        return task == "query" and self.spec.query_expansion > 0

    def _forward(self, features: dict[str, Any], task: str) -> dict[str, Any]:
        claim_torch()
        device = self._model.device
        placed = {name: moved(one, device) if isinstance(one, torch.Tensor) else one for name, one in features.items()}
        return self._model(placed, task=task)

    def _mask(self, features: dict[str, Any], task: str) -> dict[str, Any]:
        for module in self._model:
            if isinstance(module, MultiVectorMask):
                features = module(features, task=task)
        return features

    def _listen(self, model: Any) -> None:
        """Keeps the last layer's attention of every forward call; sentence-transformers would drop it."""
        forward = model.forward

        def listening(**inputs: Any) -> Any:
            output = forward(**inputs)
            self._attention = output.attentions[-1]
            return output

        model.config.output_attentions = True
        model.forward = listening

    def _received(self, attended: np.ndarray) -> np.ndarray:
        """(texts, positions) float32: attention to each position, over all heads and the text's own positions."""
        assert self._attention is not None
        attention, self._attention = self._attention.float().cpu(), None
        return torch.einsum("bhqk,bq->bk", attention, torch.from_numpy(attended).float()).numpy()


def _kept(scored: np.ndarray, attended: np.ndarray) -> np.ndarray:
    """(texts, positions) bool: the rows that the checkpoint scores; a text that would lose all keeps its first."""
    empty = np.flatnonzero(~scored.any(axis=1))
    scored[empty, attended[empty].argmax(axis=1)] = True
    return scored


def _surfaces(texts: list[str], text_of: np.ndarray, places: np.ndarray, prompt: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) uint32 spans of the texts without white space around them, and (n,) uint8 roles.

    `places` count characters from the prompt's start; a token that ends within the prompt is a marker.
    """
    spans, roles = np.zeros((len(places), 2), np.uint32), np.zeros(len(places), np.uint8)
    bare = np.maximum(places - prompt, 0).tolist()
    for row, (text, (start, end)) in enumerate(zip(text_of.tolist(), bare, strict=True)):
        lead, length, roles[row] = _surface(texts[text][start:end])
        spans[row] = start + lead, start + lead + length
    roles[(places[:, 1] > 0) & (places[:, 1] <= prompt)] = Role.MARKER
    return spans, roles


@lru_cache(maxsize=1 << 16)
def _surface(piece: str) -> tuple[int, int, int]:
    bare = piece.strip()
    punctuation = bare != "" and set(bare) <= set(string.punctuation)
    return len(piece) - len(piece.lstrip()), len(bare), Role.PUNCTUATION if punctuation else Role.WORD


def _unit(vectors: torch.Tensor, kept: np.ndarray | None = None) -> np.ndarray:
    if kept is not None:
        vectors = vectors[torch.from_numpy(kept).to(vectors.device)]
    return normalize(vectors.float(), dim=-1).cpu().numpy()
