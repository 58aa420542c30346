"""Whether a checkpoint folder is whole. Only files are read here; `retrieval/models/weights.py` compares keys with the
model they fill."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...index.errors import InvalidArgument

COIL = "model.pt"
"""COIL's projections, beside its encoder."""
OTHER_RUNTIMES = ("onnx", "openvino")
_CONTENT = (".json", ".txt", ".model", ".safetensors", ".bin")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""Files that hold a tokenizer's words."""
_WRAPPED = {"_orig_mod.": "torch.compile", "module.": "DistributedDataParallel"}
"""Prefixes of keys in files that were saved from a wrapped model."""
_POINTER = b"version https://git-lfs.github.com/spec/"


def content(folder: Path) -> Iterator[Path]:
    """The files that decide what an encoder gives: weights, tokenizer, configuration."""
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if inner.parts[0] in OTHER_RUNTIMES or any(part.startswith(".") for part in inner.parts):
            continue
        # Where both exist, the safetensors file is the one that is loaded.
        unread = path.suffix == ".bin" and any(path.parent.glob("model*.safetensors"))
        if path.is_file() and not unread and (path.suffix in _CONTENT or path.name in ("artifact.metadata", COIL)):
            yield path


def check_files(folder: Path) -> None:
    """Refuses a folder of which a part is missing, cut off or not fetched, or that asks for code of its own.

    Raises:
        InvalidArgument: names the folder, the file and the remedy.
    """
    for path in content(folder):
        _check_fetched(folder, path)
        if path.suffix == ".safetensors":
            _check_tensors(path)
        elif path.suffix in (".bin", ".pt"):
            _check_archive(path)
        elif path.name.endswith(".index.json"):
            _check_shards(folder, path)
        elif path.name in ("config.json", "tokenizer_config.json"):
            _check_code(folder, path)
    _check_projections(folder)
    if (folder / "adapter_config.json").is_file():
        raise InvalidArgument(
            f"{folder} holds an adapter without its model (adapter_config.json); merge the two with peft's "
            "merge_and_unload, save the result, and give that folder"
        )


def read_json(path: Path, missing: Any) -> Any:
    """What a JSON file holds; `missing` where there is no file. InvalidArgument: not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return missing
    except ValueError as error:
        raise InvalidArgument(f"{path} is not JSON: {error}") from error


def _check_fetched(folder: Path, path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise InvalidArgument(f"{path} is a Git LFS pointer, not the file itself; run `git lfs pull` in {folder}")


def has_tokenizer(folder: Path) -> bool:
    return any(path.is_file() for pattern in TOKENIZERS for path in folder.glob(pattern))


def _check_tensors(path: Path) -> None:
    """A safetensors file: eight bytes with the header's length, the header, the tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length)) if 8 + length <= size else None
            ends = [entry["data_offsets"][1] for name, entry in (header or {}).items() if name != "__metadata__"]
        except (ValueError, TypeError, LookupError, AttributeError):
            header, ends = None, []
    if header is None:
        raise InvalidArgument(f"{path} is cut off or damaged: its {size:,} bytes hold no whole header; fetch it again")
    if size != (expected := 8 + length + max(ends, default=0)):
        raise InvalidArgument(f"{path} is cut off or damaged: it has {size:,} bytes, not {expected:,}; fetch it again")
    for prefix, by in _WRAPPED.items():
        if any(key.startswith(prefix) for key in header):
            raise InvalidArgument(
                f"keys of {path} begin with {prefix!r}, which {by} puts there; save the model that it wraps, not the wrapper"
            )


def _check_archive(path: Path) -> None:
    """torch's files are ZIP archives, whose directory stands at the end; those of before
    1.6 are not, and are left alone."""
    with path.open("rb") as file:
        archive = file.read(2) == b"PK"
    if archive and not zipfile.is_zipfile(path):
        raise InvalidArgument(f"{path} is cut off: its end is missing; fetch it again")


def _check_shards(folder: Path, path: Path) -> None:
    index = read_json(path, {})
    named = set(index.get("weight_map", {}).values()) if isinstance(index, dict) else set()
    if missing := sorted(name for name in named if not (path.parent / name).is_file()):
        raise InvalidArgument(
            f"{folder} is no whole checkpoint: {path.name} names {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}, which is not there; fetch the whole folder"
        )


def _check_code(folder: Path, path: Path) -> None:
    config = read_json(path, {})
    if own := config.get("auto_map") if isinstance(config, dict) else None:
        named = ", ".join(f"{name}: {code}" for name, code in own.items()) if isinstance(own, dict) else str(own)
        raise InvalidArgument(
            f"{folder} asks in {path.name} for code of its own ({named:.200}), and plait runs no code from checkpoints. If "
            "transformers itself has this architecture, remove auto_map and set model_type to it"
        )


def _check_projections(folder: Path) -> None:
    """The linear layers that modules.json names, and those that lie there (XTR's folders have no modules.json)."""
    modules = read_json(folder / "modules.json", [])
    named = [str(module.get("path")) for module in modules if str(module.get("type", "")).endswith("Dense")]
    for part in sorted({*named, *(path.name for path in folder.glob("[0-9]_Dense"))}):
        has = {file.name for file in (folder / part).glob("*")}
        lacking = [] if "config.json" in has else ["config.json"]
        if not has & {"model.safetensors", "pytorch_model.bin"}:
            lacking.append("model.safetensors")
        if lacking:
            missing = " and ".join(f"{part}/{name}" for name in lacking)
            raise InvalidArgument(f"{folder} is no whole checkpoint: it lacks {missing}; fetch the whole folder")
