"""Tiny sparse checkpoints with the file and key names of the real ones, and what is needed to run them by hand."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plait.retrieval.sparse.encoder import SparseEncoder, SparseOptions
from plait.retrieval.sparse.load import load_sparse_encoder
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast

PAD, PASSAGE, UNUSED, UNK, CLS, SEP, MASK = range(7)
SPECIAL = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["venus", "is", "a", "planet", "red", "the", "mars", "rings", "definition", "what"]
VOCABULARY = [*SPECIAL, *string.punctuation, *string.ascii_lowercase[1:], *(f"##{x}" for x in "abcdes"), *WORDS]
IDS = {piece: i for i, piece in enumerate(VOCABULARY)}
TEXTS = ["Venus is a PLANET, (the red one).", "", "mars rings the rings", "...", "the [SEP] is a", "planet venus " * 20]
KEYS = len(VOCABULARY)
SIZES: dict[str, Any] = {
    "vocab_size": KEYS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64, "initializer_range": 0.4,
}  # fmt: skip
CLOSE = {"rtol": 0, "atol": 5e-5}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def tokenizer(folder: Path) -> Tokenizer:
    made = Tokenizer(models.WordPiece(dict(IDS), unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    saved = PreTrainedTokenizerFast(tokenizer_object=made, mask_token="[MASK]", model_max_length=64, **names)
    saved.save_pretrained(folder)
    return made


def masked(seed: int = 7) -> BertForMaskedLM:
    torch.manual_seed(seed)
    return BertForMaskedLM(BertConfig(**SIZES)).eval()


def plain(seed: int = 7) -> BertModel:
    torch.manual_seed(seed)
    return BertModel(BertConfig(**SIZES), add_pooling_layer=False).eval()


def random(seed: int, *shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def save_masked(folder: Path, model: BertForMaskedLM, **more: Any) -> None:
    """With the parameter names of old checkpoints, gamma and beta."""
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
           for k, v in model.state_dict().items() if not k.startswith("cls.predictions.decoder")}  # fmt: skip
    save(folder, {**old, **more}, ["BertForMaskedLM"])


def save(folder: Path, weights: dict[str, Any], architectures: Sequence[str], **config: Any) -> None:
    tokenizer(folder)
    save_file({k: v.clone().contiguous() for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    write(folder / "config.json", {"model_type": "bert", **SIZES, "architectures": architectures, **config})


def under(prefix: str, model: Any) -> dict[str, Any]:
    return {prefix + key: value for key, value in model.state_dict().items()}


def line(text: str, length: int = 64) -> list[int]:
    """[CLS], the text's pieces, [SEP], cut to a length; no special token but these two."""
    made = Tokenizer(models.WordPiece(dict(IDS), unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return [CLS, *made.encode(text).ids[: length - 2], SEP]


def logits(model: BertForMaskedLM, ids: Sequence[int]) -> np.ndarray:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([list(ids)])).logits[0].numpy()


def hidden(model: Any, ids: Sequence[int]) -> np.ndarray:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([list(ids)])).last_hidden_state[0].numpy()


def load(folder: Path, **options: Any) -> SparseEncoder:
    return load_sparse_encoder(str(folder), SparseOptions(**options), threads=1)


def by_hand(side: Callable[[str], np.ndarray], texts: Sequence[str] = TEXTS) -> np.ndarray:
    return np.array([side(text) for text in texts])
