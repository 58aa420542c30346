"""A checkpoint folder or hub id: which family it is, and the encoder that it holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from ...index.errors import FailedPrecondition, InvalidArgument, NotFound
from ..encoders.encoder import Encoder, EncoderOptions
from ..sparse.encoder import SparseOptions
from .forked import claim_torch
from .intact import COIL, OTHER_RUNTIMES, check_files, content, read_json

_T5 = ("t5", "mt5", "umt5")


def load_checkpoint(name: str, options: EncoderOptions, *, device: str = "cpu", threads: int | None = None) -> Encoder:
    """The encoder of a checkpoint folder or hub id; weights are never unpickled, and no code is downloaded.

    Args:
        device: where the model runs, `cpu` or `cuda[:n]`.
        threads: CPU threads of torch, for the whole process; None leaves torch's own choice.

    Raises:
        FailedPrecondition: torch or sentence-transformers (extra `encoders`) or the device is missing.
        NotFound: neither a folder nor a hub id that can be had.
        InvalidArgument: no family that plait knows, a part of the checkpoint is missing or damaged, or an option
            contradicts it.
    """
    ready(device, threads)
    folder = locate(name)
    check_files(folder)
    family = detect(folder)
    if family == "coil":
        from ..encoders.coil import Coil as Loaded
    else:
        from ..encoders.multivector import CheckpointEncoder as Loaded
    return Loaded(
        folder, name=name, family=family, options=options, device=device, fingerprint=fingerprint(folder, options)
    )


def ready(device: str, threads: int | None) -> None:
    """Sets torch's threads. FailedPrecondition: torch, sentence-transformers or the device is missing, or another process
    loaded a checkpoint before it forked this one."""
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


def detect(folder: Path) -> str:
    """The family of a checkpoint folder, by the first sign that holds: a value of `EncoderSpec.family`."""
    config, modules = read_json(folder / "config.json", {}), read_json(folder / "modules.json", [])
    architectures = config.get("architectures") or []
    types = " ".join(str(module.get("type")) for module in modules)
    saved_as = read_json(folder / "config_sentence_transformers.json", {}).get("model_type")
    if "HF_ColBERT" in architectures:
        return "stanford"
    if (folder / "artifact.metadata").exists() and not modules:
        raise InvalidArgument(
            f"{folder} has artifact.metadata, but architectures is {architectures}; set it to ['HF_ColBERT'] in "
            "config.json if the weights hold linear.weight"
        )
    if saved_as == "ColBERT":
        return "pylate"
    if saved_as == "MultiVectorEncoder" or "MultiVectorMask" in types:
        return "sentence-transformers"
    if saved_as == "CrossEncoder" or is_sparse_modules(folder):
        raise InvalidArgument(f"{folder} holds a {saved_as or 'sparse'} model, which gives no token vectors")
    if (folder / COIL).exists() and not modules:
        return "coil"
    if any(architecture.endswith("ForRetrieval") for architecture in architectures):
        raise InvalidArgument(f"{folder} holds {architectures[0]}, a model of page images; plait encodes text")
    if config.get("model_type") in _T5 and not modules:
        if not (folder / "2_Dense").is_dir():
            raise InvalidArgument(f"{folder} is a T5 encoder without 2_Dense/, its projection; fetch that folder too")
        return "xtr"
    if config or modules:
        return "plain"
    if any(folder.glob("*.dnn")):
        raise InvalidArgument(f"{folder} holds only a .dnn pickle, which could run code; convert it to a folder")
    raise InvalidArgument(f"{folder} has neither config.json nor modules.json: no checkpoint")


def is_sparse_modules(folder: Path) -> bool:
    """Whether sentence-transformers saved a sparse model there."""
    types = " ".join(str(module.get("type")) for module in read_json(folder / "modules.json", []))
    saved_as = read_json(folder / "config_sentence_transformers.json", {}).get("model_type")
    return saved_as == "SparseEncoder" or "Splade" in types or "SparseStatic" in types


def fingerprint(folder: Path, options: EncoderOptions | SparseOptions) -> str:
    """SHA-256 over weights, tokenizer and configuration files, and the options that differ from their defaults."""
    changed = {key: value for key, value in asdict(options).items() if value is not None and value is not False}
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode())
    for path in content(folder):
        with path.open("rb") as file:
            digest.update(f"\0{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
