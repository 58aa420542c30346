"""How a name becomes an encoder."""

from __future__ import annotations

from pathlib import Path

from ...index.errors import InvalidArgument, NotFound
from ..models.folder import fingerprint, is_sparse_modules, locate, ready
from ..models.intact import COIL, check_files, read_json
from .encoder import EMBEDDED, Encoder, EncoderOptions, encoder_name, refuse_near

_T5 = ("t5", "mt5", "umt5")


def load_encoder(
    name: str, options: EncoderOptions = EncoderOptions(), *, device: str = "cpu", threads: int | None = None
) -> Encoder:
    """`minilm`, a folder that holds a checkpoint, or a hub id that lies in the local hub cache (or can be downloaded).

    Args:
        device: where the model runs, `cpu` or `cuda[:n]` (checkpoints only).
        threads: CPU threads of the model; None leaves the runtime's own choice.

    Raises:
        FailedPrecondition: the extra that carries this encoder is not installed.
        NotFound: no such folder or checkpoint.
        InvalidArgument: the folder is no checkpoint that plait knows, or lacks its projection.

    Examples:
        >>> encoder = plait.load_encoder("minilm")
        >>> encoder.encode_documents(["Bread rises."])
        Tokens(1 documents: 5 vectors of 384 float32, global vectors of 384 float32, ids, spans, roles)
    """
    name = encoder_name(name)
    if name == EMBEDDED:
        from .minilm import MiniLM

        return MiniLM(options, threads=threads)
    refuse_near(name, (EMBEDDED, "none"))
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise NotFound(f"no folder {name}; give a checkpoint folder, a hub id, or {EMBEDDED!r}")
    return load_checkpoint(name, options, device=device, threads=threads)


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
        from .coil import Coil as Loaded
    else:
        from .multivector import CheckpointEncoder as Loaded
    return Loaded(
        folder, name=name, family=family, options=options, device=device, fingerprint=fingerprint(folder, options)
    )


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
