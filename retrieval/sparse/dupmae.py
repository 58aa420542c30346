"""DupMAE (Xiao et al. 2023, arXiv 2305.02564, section 3.3): a short dense vector beside a bag of words.

ĥ = W h_cls, and μ = max over the tokens after [CLS] of the masked language model's logits.
score(q, d) = ĥ_q·ĥ_d + Σ_{i ∈ I_d} μ_q[i]·μ_d[i], where I_d are the 384 largest entries of
μ_d. The query's μ stays whole.

No weights tuned for this representation have been published (the public fine-tuned models are plain [CLS] encoders), so
the layout is plait's own: a masked language model whose file also has `cls_proj.weight`, (384, 768).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ...index.terms import Terms
from ..models.forward import Batch, Loaded, Model, batches, dense_rows, joined, largest, masked_max, placed
from ..models.vocabulary import read_vocabulary
from ..models.weights import longest, masked_lm, projection, read_weights, vocabulary_head
from .encoder import SparseOptions

_BUDGET = 1024


def dupmae(folder: Path, options: SparseOptions, device: str) -> Loaded:
    """Terms are μ, logits that may lie below 0; `both` gives ĥ with them. Queries 128 tokens, documents 512."""
    head = placed(masked_lm(folder), options.dtype, device)
    to_logits = vocabulary_head(folder, head)
    keys, limit = head.config.vocab_size, longest(head.config)
    matrix, bias = (
        part.to(device) for part in projection(folder, read_weights(folder), "cls_proj", head.config.hidden_size)
    )
    vocabulary = read_vocabulary(folder, keys)
    lengths = min(options.query_length or 128, limit), min(options.document_length or 512, limit)
    model = Model(
        lambda ids, mask: head.base_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state,
        device,
        head.config.pad_token_id or 0,
        _BUDGET,
    )

    def both(texts: Sequence[str], side: str) -> tuple[Terms, np.ndarray]:
        lines = vocabulary.ids(texts, lengths[side == "document"])
        numbers: list[int] = []
        parts: list[Terms] = []
        vectors = np.empty((len(lines), len(matrix)), np.float32)
        for batch in batches(model, lines):
            with torch.inference_mode():
                vectors[batch.numbers] = (batch.output[:, 0].float() @ matrix.T + bias).cpu().numpy()
                logits = to_logits(batch.output)
                words = Batch(batch.numbers, batch.ids, batch.mask.new_tensor(batch.tokens), logits)
                bag = masked_max(words)
            parts.append(dense_rows(largest(bag, options.top or 384) if side == "document" else bag))
            numbers += batch.numbers
        return joined(parts).take(np.argsort(numbers)), vectors

    return Loaded(
        keys,
        lengths,
        lambda texts: both(texts, "document")[0],
        lambda texts: both(texts, "query")[0],
        vocabulary.names,
        both,
        len(matrix),
    )
