"""Weights of a checkpoint folder by key, never unpickled, and the transformers model that they fill."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, BertConfig
from transformers.utils import logging

from ...index.errors import InvalidArgument
from .intact import TOKENIZERS, has_tokenizer
from .vocabulary import check_vocabulary

UNREADABLE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, EOFError, ImportError),
    *(pickle.UnpicklingError, SafetensorError),
)
"""What transformers, torch and safetensors raise over files that are damaged or contradict each other."""
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Their position 0 lies behind the padding index, so two rows of the position table carry no token."""
# The longest text that `SparseOptions` admits.
_UNBOUNDED = 8192
# Buffers and heads that no family uses; older files have some of them.
_UNUSED = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids", "rotary_emb.")


def read_weights(folder: Path, *, extra: bool = False) -> dict[str, Tensor]:
    """Every tensor of the folder by its key, with LayerNorm's `gamma` and `beta` called `weight` and `bias`.

    Args:
        extra: read COIL's model.pt, which lies beside the encoder's own file.

    Raises:
        InvalidArgument: no weight file, or one that is damaged or holds anything but tensors of finite numbers.
    """
    files = [folder / "model.pt"] if extra else _files(folder)
    weights: dict[str, Tensor] = {}
    for path in files:
        try:
            weights.update(_read(path))
        except UNREADABLE as error:
            raise InvalidArgument(f"{path} does not load as plain tensors: {error}") from error
    for key, value in weights.items():
        _finite(folder, key, value)
    return {_modern(key): value.float() if value.is_floating_point() else value for key, value in weights.items()}


def keys_of(folder: Path) -> set[str]:
    """The keys of the folder's weights; of a safetensors file only the header is read."""
    return {_modern(key) for key in _shapes(folder)}


def masked_lm(folder: Path) -> Any:
    """The masked language model of a folder, in float32.

    Raises:
        InvalidArgument: it does not load, or weights are missing (transformers would fill them with random numbers),
            left over, or not finite.
    """
    try:
        with _quiet():
            model, report = AutoModelForMaskedLM.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
    except UNREADABLE as error:
        raise InvalidArgument(f"{folder} does not load as a masked language model: {error}") from error
    _complete(folder, report["missing_keys"], report["unexpected_keys"], model)
    check_finite(folder, model)
    return model.float().eval()


def check_model(source: Path, model: Any, tokenizer: Any) -> None:
    """Compares a transformer that was loaded with the folder that it came from; transformers
    fills what is missing at random.

    Raises:
        InvalidArgument: weights are missing or left over; the tokenizer has no words, or ids that the model lacks.
    """
    # Tensors of the right shapes that take no memory: transformers itself says which keys it would use.
    shapes = {key: torch.zeros(()).expand(shape) for key, shape in _shapes(source).items()}
    with _quiet():
        _, report = type(model).from_pretrained(
            None, config=model.config, state_dict=shapes, dtype=torch.float32, output_loading_info=True
        )
    _complete(source, report["missing_keys"], report["unexpected_keys"], model)
    pieces = tokenizer.get_vocab()
    if not has_tokenizer(source) or set(pieces.values()) <= set(tokenizer.all_special_ids):
        raise InvalidArgument(
            f"{source} has no tokenizer: none of {', '.join(TOKENIZERS)} with words in it is there; copy the tokenizer's files "
            "from the model that this one was trained from"
        )
    check_vocabulary(source, pieces, model.get_input_embeddings().num_embeddings)


def check_finite(folder: Path, model: Any) -> None:
    """InvalidArgument: a weight is NaN or infinite."""
    for key, value in model.named_parameters():
        _finite(folder, key, value)


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers says nothing: what it would say is checked, and its bar would stand among plait's own progress."""
    logging.disable_progress_bar()
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


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
        report = model.load_state_dict(own, strict=False)
    except UNREADABLE as error:
        raise InvalidArgument(f"{folder} does not load as an encoder under {prefix}*: {error}") from error
    _complete(folder, report.missing_keys, report.unexpected_keys, model, prefix)
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


def _files(folder: Path) -> list[Path]:
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        if files := sorted(folder.glob(pattern)):
            return files
    raise InvalidArgument(f"{folder} has neither model.safetensors nor pytorch_model.bin")


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor by its key; of a safetensors file only the header is read."""
    files = _files(folder)
    if files[0].suffix != ".safetensors":
        return {key: tuple(value.shape) for key, value in read_weights(folder).items()}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                shapes.update({key: tuple(file.get_slice(key).get_shape()) for key in file.keys()})  # noqa: SIM118
        except UNREADABLE as error:
            raise InvalidArgument(f"{path} does not load as plain tensors: {error}") from error
    return shapes


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


def _complete(folder: Path, missing: Iterable[str], left: Iterable[str], model: Any, prefix: str = "") -> None:
    """Refuses weights that leave a part of the model random, or that have a layer more than its configuration says."""
    absent = sorted(key for key in missing if not any(part in key for part in _UNUSED))
    left = sorted(left)
    if absent:
        raise InvalidArgument(
            f"{folder} is no whole {type(model).__name__}: it lacks {_some([prefix + key for key in absent])}"
            + (f", and has {_some(left)} instead" if left else "")
            + "; fetch or save it again"
        )
    if more := [key for key in left if _of_encoder(key, model)]:
        raise InvalidArgument(
            f"{folder} has weights that {type(model).__name__} with its config.json has no place for: {_some(more)}; the "
            "configuration belongs to another model"
        )


def _of_encoder(key: str, model: Any) -> bool:
    """Whether a key lies within a part of the encoder; heads of other tasks do not."""
    parts = {name for name, _ in model.base_model.named_children()}
    inner = key.removeprefix(f"{model.base_model_prefix}.")
    return (
        inner.partition(".")[0] in parts
        and inner.endswith((".weight", ".bias"))
        and not any(part in inner for part in _UNUSED)
    )


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (" and more" if len(keys) > 3 else "")


def _finite(folder: Path, key: str, value: Tensor) -> None:
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise InvalidArgument(f"{folder} has NaN or infinity in {key}; fetch or save it again")
