"""COIL (Gao et al. 2021, arXiv 2104.07186, section 3): token vectors that are compared at equal vocabulary ids only.

s = Σ_{i ≥ 1} max_{j ≥ 1, t_j = t_i} v_i·v_j (at least 0, as the published code has it) + c_q·c_d, where v = W_tok h + b
of every token but [CLS], [SEP] included, and c = W_cls h_cls + b. The vectors are not unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from ...index.errors import InvalidArgument
from ...index.tokens import Role, Tokens, concatenate
from ..models.forward import Model, batches, placed
from ..models.vocabulary import read_vocabulary
from ..models.weights import bert, longest, projection, read_weights
from .encoder import EncoderOptions, EncoderSpec

_BUDGET = 8192
# torch's LayerNorm, which the published code puts behind a projection when asked to.
_EPSILON = 1e-5


class Coil:
    """Implements `Encoder`: vectors (n, 32) with ids, spans and roles; `globals_` (texts,
    768) where model.pt has cls_proj.

    The folder is the encoder's own plus model.pt. args.pt is a pickle and is not read: a model trained with `relu` on
    its token vectors would need that setting, and none has been published. Queries 128 tokens, documents 512 (the
    paper's MS MARCO runs: 16 and 128).
    """

    def __init__(
        self, folder: Path, *, name: str, family: str, options: EncoderOptions, device: str, fingerprint: str
    ) -> None:
        if options.query_expansion or options.attention:
            raise InvalidArgument("COIL has neither query_expansion nor attention; leave both out")
        extra, weights = read_weights(folder, extra=True), read_weights(folder)
        prefix = "bert." if any(key.startswith("bert.") for key in weights) else ""
        encoder = placed(bert(folder, weights, prefix), options.dtype, device)
        width = encoder.config.hidden_size
        self._model = Model(
            lambda ids, mask: encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float(),
            device,
            encoder.config.pad_token_id or 0,
            _BUDGET,
        )
        self._token = _Head(folder, extra, "tok", width, device)
        self._cls = _Head(folder, extra, "cls", width, device) if "cls_proj.weight" in extra else None
        self._vocabulary = read_vocabulary(folder, encoder.config.vocab_size)
        limit = longest(encoder.config)
        lengths = min(options.query_length or 128, limit), min(options.document_length or 512, limit)
        keys = encoder.config.vocab_size
        self.spec = EncoderSpec(name, family, self._token.dim, *lengths, 0, keys, fingerprint)

    def encode_documents(self, texts: Sequence[str]) -> Tokens:
        return self._encode(texts, self.spec.document_length)

    def encode_queries(self, texts: Sequence[str]) -> Tokens:
        return self._encode(texts, self.spec.query_length)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        return self._prepare(texts, self.spec.document_length)[0]

    def _prepare(self, texts: Sequence[str], length: int) -> tuple[Tokens, list[list[int]]]:
        """Columns of every token but [CLS], with vectors of dimension 0; and the lines that the model reads."""
        encodings = self._vocabulary.encode(texts, length)
        ids = np.array([i for e in encodings for i in e.ids[1:]], np.uint32)
        spans = np.array([span for e in encodings for span in e.offsets[1:]], np.uint32).reshape(-1, 2)
        offsets = np.concatenate([[0], np.cumsum([len(e.ids) - 1 for e in encodings])]).astype(np.int64)
        roles = np.full(len(ids), Role.WORD, np.uint8)
        roles[offsets[1:] - 1] = Role.SEP
        empty = np.zeros((len(ids), 0), np.float32)
        return Tokens(empty, offsets, ids, spans, roles=roles), [e.ids for e in encodings]

    def _encode(self, texts: Sequence[str], length: int) -> Tokens:
        if not texts:
            return self._encode([""], length).take([])
        tokens, lines = self._prepare(texts, length)
        parts, numbers = [], []
        for batch in batches(self._model, lines):
            kept = batch.tokens
            vectors = self._token(batch.output).cpu().numpy()[kept]
            whole = self._cls(batch.output[:, 0]).cpu().numpy() if self._cls is not None else None
            offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64)
            parts.append(Tokens(vectors, offsets, globals_=whole))
            numbers += batch.numbers
        encoded = concatenate(parts).take(np.argsort(numbers))
        return Tokens(
            encoded.vectors, tokens.offsets, tokens.ids, tokens.spans, roles=tokens.roles, globals_=encoded.globals_
        )


class _Head:
    """One projection of model.pt, with the layer norm behind it where the file has one."""

    def __init__(self, folder: Path, weights: dict[str, Tensor], name: str, width: int, device: str) -> None:
        matrix, bias = projection(folder, weights, f"{name}_proj", width)
        self._matrix, self._bias, self.dim = matrix.to(device), bias.to(device), len(matrix)
        norm = [weights.get(f"ln_{name}.{part}") for part in ("weight", "bias")]
        self._norm = [part.to(device) for part in norm if part is not None]

    def __call__(self, hidden: Tensor) -> Tensor:
        with torch.inference_mode():
            vectors = hidden @ self._matrix.T + self._bias
            return layer_norm(vectors, (self.dim,), *self._norm, eps=_EPSILON) if self._norm else vectors
