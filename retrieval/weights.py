"""Weights of a checkpoint folder by key, never unpickled, and the transformers model that they fill."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, BertConfig
from transformers.utils import logging

from ..index.errors import InvalidArgument
from .layout import OFFSET_POSITIONS

_UNREADABLE = (OSError, ValueError, LookupError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError)
# The longest text that `SparseOptions` admits.
_UNBOUNDED = 8192
# Buffers and heads that no family uses; older files have some of them.
_UNUSED = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids")


def read_weights(folder: Path, *, extra: bool = False) -> dict[str, Tensor]:
    """Every tensor of the folder by its key, with LayerNorm's `gamma` and `beta` called `weight` and `bias`.

    Args:
        extra: read COIL's model.pt, which lies beside the encoder's own file.

    Raises:
        InvalidArgument: no weight file, or one that is damaged or holds anything but tensors.
    """
    files = [folder / "model.pt"] if extra else _files(folder)
    weights: dict[str, Tensor] = {}
    for path in files:
        try:
            weights.update(_read(path))
        except _UNREADABLE as error:
            raise InvalidArgument(f"{path} does not load as plain tensors: {error}") from error
    return {_modern(key): value.float() if value.is_floating_point() else value for key, value in weights.items()}


def keys_of(folder: Path) -> set[str]:
    """The keys of the folder's weights; of a safetensors file only the header is read."""
    files = _files(folder)
    if files[0].suffix != ".safetensors":
        return set(read_weights(folder))
    keys: set[str] = set()
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                keys.update(_modern(key) for key in file.keys())  # noqa: SIM118
        except _UNREADABLE as error:
            raise InvalidArgument(f"{path} does not load as plain tensors: {error}") from error
    return keys


def masked_lm(folder: Path) -> Any:
    """The masked language model of a folder, in float32.

    Raises:
        InvalidArgument: it does not load, or its head is missing (transformers would fill it with random numbers).
    """
    logging.disable_progress_bar()
    try:
        # The logger would repeat what is checked below.
        level = logging.get_verbosity()
        logging.set_verbosity_error()
        try:
            model, report = AutoModelForMaskedLM.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
        finally:
            logging.set_verbosity(level)
    except (*_UNREADABLE, ImportError) as error:
        raise InvalidArgument(f"{folder} does not load as a masked language model: {error}") from error
    _complete(folder, report["missing_keys"], "masked language model")
    return model.float().eval()


def vocabulary_head(folder: Path, model: Any) -> Any:
    """BERT's head, from hidden states to logits. InvalidArgument: the model has another architecture."""
    head = getattr(model, "cls", None)
    if head is None:
        raise InvalidArgument(f"{folder} holds a {type(model).__name__}; this family needs BertForMaskedLM's head")
    return head


def bert(folder: Path, weights: Mapping[str, Tensor], prefix: str, settings: Mapping[str, Any] | None = None) -> Any:
    """The encoder whose keys start with `prefix`, in float32. `settings`: its configuration; None: the folder's own.

    Raises:
        InvalidArgument: no configuration, a missing key, or a shape that contradicts the configuration.
    """
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    try:
        if settings is None:
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        else:
            config = BertConfig.from_dict(dict(settings))
        model = AutoModel.from_config(config, trust_remote_code=False, dtype=torch.float32)
        missing = model.load_state_dict(own, strict=False).missing_keys
    except (*_UNREADABLE, ImportError) as error:
        raise InvalidArgument(f"{folder} does not load as an encoder under {prefix}*: {error}") from error
    _complete(folder, missing, f"encoder under {prefix}*")
    return model.float().eval()


def projection(folder: Path, weights: Mapping[str, Tensor], name: str, inward: int) -> tuple[Tensor, Tensor]:
    """Matrix (out, inward) and bias (out,) of a linear layer; a checkpoint without a bias has zeros.

    Raises:
        InvalidArgument: the layer is missing or does not fit the encoder: the folder is of another family, or was
            saved without its projection.
    """
    matrix = weights.get(f"{name}.weight")
    if matrix is None or matrix.ndim != 2 or matrix.shape[1] != inward:
        found = "is missing" if matrix is None else f"has shape {tuple(matrix.shape)}"
        raise InvalidArgument(
            f"{folder}: {name}.weight {found}; plait needs (out, {inward}), the projection that was trained with it"
        )
    return matrix, weights.get(f"{name}.bias", torch.zeros(len(matrix)))


def longest(config: Any) -> int:
    """Tokens that a model has positions for."""
    positions = getattr(config, "max_position_embeddings", None) or _UNBOUNDED
    return positions - 2 if config.model_type in OFFSET_POSITIONS else positions


def read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file; empty where there is no file. InvalidArgument: not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InvalidArgument(f"{path} is not JSON: {error}") from error


def _files(folder: Path) -> list[Path]:
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        if files := sorted(folder.glob(pattern)):
            return files
    raise InvalidArgument(f"{folder} has neither model.safetensors nor pytorch_model.bin")


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return torch.load(path, map_location="cpu", weights_only=True)


def _modern(key: str) -> str:
    for old, new in ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")):
        if key.endswith(old):
            return key.removesuffix(old) + new
    return key


def _complete(folder: Path, missing: Any, kind: str) -> None:
    absent = sorted(key for key in missing if not any(part in key for part in _UNUSED))
    if absent:
        raise InvalidArgument(
            f"{folder} is no whole {kind}: it lacks {', '.join(absent[:3])}{' and more' if len(absent) > 3 else ''}"
        )
