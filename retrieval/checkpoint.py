"""A checkpoint folder or hub id: which family it is, and the encoder that it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..index.errors import FailedPrecondition, InvalidArgument, NotFound
from .encoder import Encoder, EncoderOptions

_CONTENT = (".json", ".txt", ".model", ".safetensors", ".bin")
_T5 = ("t5", "mt5", "umt5")
_OTHER_RUNTIMES = ("onnx", "openvino")


def load_checkpoint(name: str, options: EncoderOptions, *, device: str = "cpu", threads: int | None = None) -> Encoder:
    """The encoder of a checkpoint folder or hub id; weights run in float32, never unpickled, and no code is downloaded.

    Args:
        device: where the model runs, `cpu` or `cuda[:n]`.
        threads: CPU threads of torch, for the whole process; None leaves torch's own choice.

    Raises:
        FailedPrecondition: torch or sentence-transformers (extra `encoders`) or the device is missing.
        NotFound: neither a folder nor a hub id that can be had.
        InvalidArgument: no family that plait knows, a projection is missing, or an option contradicts the checkpoint.
    """
    try:
        import torch

        from .multivector import CheckpointEncoder
    except ImportError as error:
        raise FailedPrecondition(
            f"checkpoints need torch and sentence-transformers>=6 ({error}); pip install 'plait[encoders]'"
        ) from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise FailedPrecondition(f"device is {device}, but torch sees no CUDA device; use cpu")
    if threads is not None:
        torch.set_num_threads(threads)
    folder = locate(name)
    family = detect(folder)
    return CheckpointEncoder(
        folder, name=name, family=family, options=options, device=device, fingerprint=fingerprint(folder, options)
    )


def locate(name: str) -> Path:
    """The folder of a checkpoint: itself, or the hub cache's copy, downloaded only where the cache has none."""
    folder = Path(name).expanduser()
    if folder.suffix == ".dnn":
        raise InvalidArgument(f"{name} is a pickle, which could run code; convert it to a Hugging Face folder")
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    ignored = ["*.dnn", "*.onnx", "*.h5", "*.msgpack", *(f"{runtime}/*" for runtime in _OTHER_RUNTIMES)]
    try:
        try:
            return Path(snapshot_download(name, local_files_only=True))
        except FileNotFoundError:
            return Path(snapshot_download(name, ignore_patterns=ignored))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise NotFound(f"{name} is neither a folder nor a hub checkpoint that can be had: {error}") from error


def detect(folder: Path) -> str:
    """The family of a checkpoint folder, by the first sign that holds: a value of `EncoderSpec.family`."""
    config, modules = _json(folder / "config.json", {}), _json(folder / "modules.json", [])
    architectures = config.get("architectures") or []
    types = " ".join(str(module.get("type")) for module in modules)
    saved_as = _json(folder / "config_sentence_transformers.json", {}).get("model_type")
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
    if saved_as in ("SparseEncoder", "CrossEncoder") or "Splade" in types:
        raise InvalidArgument(f"{folder} holds a {saved_as or 'sparse'} model, which gives no token vectors")
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


def fingerprint(folder: Path, options: EncoderOptions) -> str:
    """SHA-256 over weights, tokenizer and configuration files, and the options that differ from their defaults."""
    changed = {key: value for key, value in asdict(options).items() if value is not None and value is not False}
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode())
    for path in _content(folder):
        with path.open("rb") as file:
            digest.update(f"\0{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _content(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if inner.parts[0] in _OTHER_RUNTIMES or any(part.startswith(".") for part in inner.parts):
            continue
        # Where both exist, the safetensors file is the one that is loaded.
        unread = path.suffix == ".bin" and any(path.parent.glob("*.safetensors"))
        if path.is_file() and not unread and (path.suffix in _CONTENT or path.name == "artifact.metadata"):
            yield path


def _json(path: Path, missing: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return missing
    except ValueError as error:
        raise InvalidArgument(f"{path} is not JSON: {error}") from error
