"""A checkpoint folder or hub id: which family it is, and the encoder that it holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ...index.errors import FailedPrecondition, InvalidArgument, NotFound
from .forked import claim_torch
from .intact import OTHER_RUNTIMES, content, read_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def ready(device: str, threads: int | None) -> None:
    """Sets torch's threads. FailedPrecondition: torch, sentence-transformers or the device is missing, or another
    process loaded a checkpoint before it forked this one."""
    claim_torch()
    try:
        import sentence_transformers.multi_vector_encoder  # noqa: F401
        import torch
    except ImportError as error:
        raise FailedPrecondition(
            f"checkpoints need torch and sentence-transformers>=6 ({error}); pip install 'plait[encoders]'"
        ) from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise FailedPrecondition(f"device is {device}, but torch sees no CUDA device; use cpu")
    if threads is not None:
        torch.set_num_threads(threads)


def locate(name: str) -> Path:
    """The folder of a checkpoint: itself, or the hub cache's copy, downloaded only where the cache has none."""
    folder = Path(name).expanduser()
    if folder.suffix == ".dnn":
        raise InvalidArgument(f"{name} is a pickle, which could run code; convert it to a Hugging Face folder")
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    ignored = ["*.dnn", "*.onnx", "*.h5", "*.msgpack", *(f"{runtime}/*" for runtime in OTHER_RUNTIMES)]
    try:
        try:
            return Path(snapshot_download(name, local_files_only=True))
        except FileNotFoundError:
            return Path(snapshot_download(name, ignore_patterns=ignored))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise NotFound(f"{name} is neither a folder nor a hub checkpoint that can be had: {error}") from error


def is_sparse_modules(folder: Path) -> bool:
    """Whether sentence-transformers saved a sparse model there."""
    types = " ".join(str(module.get("type")) for module in read_json(folder / "modules.json", []))
    saved_as = read_json(folder / "config_sentence_transformers.json", {}).get("model_type")
    return saved_as == "SparseEncoder" or "Splade" in types or "SparseStatic" in types


def fingerprint(folder: Path, options: DataclassInstance) -> str:
    """SHA-256 over weights, tokenizer and configuration files, and the options that differ from their defaults."""
    changed = {key: value for key, value in asdict(options).items() if value is not None and value is not False}
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode())
    for path in content(folder):
        with path.open("rb") as file:
            digest.update(f"\0{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
