"""A checkpoint folder or hub id: which sparse family it is, and the encoder that it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...index.errors import InvalidArgument
from ...index.terms import Terms
from ..models.folder import fingerprint, is_sparse_modules, locate, ready
from ..models.intact import COIL, check_files, read_json
from ..models.vocabulary import read_vocabulary
from .bag_of_tokens import BagOfTokens
from .encoder import BINARY, SparseEncoder, SparseOptions, SparseSpec

if TYPE_CHECKING:
    from ..models.forward import Loaded

_BUILDERS = {
    "splade": "splade.splade",
    "splade-doc": "splade.splade_doc",
    "slim": "slim.slim",
    "sentence-transformers": "sparse_modules.sentence_transformers",
    "unicoil": "token_weight.unicoil",
    "tildev2": "token_weight.tildev2",
    "svdr": "svdr.svdr",
    "dupmae": "dupmae.dupmae",
}
# Options that only some families have.
_ONLY = {
    "pooling": ("splade", "splade-doc"),
    "expander": ("tildev2",),
    "query_checkpoint": ("splade",),
    "top": ("splade", "splade-doc", "slim", "sentence-transformers", "svdr", "dupmae"),
}


@dataclass(frozen=True, eq=False)
class SparseCheckpoint:
    """Implements `SparseEncoder`."""

    spec: SparseSpec
    _loaded: Loaded

    def encode_documents(self, texts: Sequence[str]) -> Terms:
        return self._some(self._loaded.documents, texts)

    def encode_queries(self, texts: Sequence[str]) -> Terms:
        return self._some(self._loaded.queries, texts)

    def names(self, keys: Iterable[int]) -> list[str]:
        return self._loaded.names(list(keys))

    @property
    def vector(self) -> int:
        """Dimensions of the dense vector beside the terms; 0: there is none."""
        return self._loaded.vector

    def hybrid_documents(self, texts: Sequence[str]) -> tuple[Terms, np.ndarray]:
        """Terms with (texts, dim) float32 dense vectors, from one run of the model; a score adds both dot products.

        Raises:
            InvalidArgument: the family has no dense vector (only `dupmae` has).
        """
        return self._hybrid(texts, "document")

    def hybrid_queries(self, texts: Sequence[str]) -> tuple[Terms, np.ndarray]:
        """As `hybrid_documents`."""
        return self._hybrid(texts, "query")

    def _hybrid(self, texts: Sequence[str], side: str) -> tuple[Terms, np.ndarray]:
        if self._loaded.both is None:
            raise InvalidArgument(f"{self.spec.family} has no dense vector beside its terms; dupmae has")
        terms, vectors = self._loaded.both(texts or [""], side)
        self._finite(terms.rows.data, vectors)
        return (terms, vectors) if texts else (terms.take([]), vectors[:0])

    def _some(self, side: Callable[[Sequence[str]], Terms], texts: Sequence[str]) -> Terms:
        """A family takes one text or more; none give no rows."""
        terms = side(texts or [""])
        self._finite(terms.rows.data)
        return terms if texts else terms.take([])

    def _finite(self, *weights: np.ndarray) -> None:
        if not all(np.isfinite(some).all() for some in weights):
            raise InvalidArgument(
                f"{self.spec.name} gives NaN or infinity: its activations exceed what it runs in; choose another dtype, "
                "bfloat16 (the range of float32) or float32"
            )


def load_sparse_checkpoint(
    name: str, options: SparseOptions, *, device: str = "cpu", threads: int | None = None
) -> SparseEncoder:
    """As `load_sparse_encoder`, for a folder or hub id; weights are never unpickled, and no code is downloaded."""
    folder = locate(name)
    check_files(folder)
    if options.family == BINARY:
        return BagOfTokens(read_vocabulary(folder), options, name=name)
    ready(device, threads)
    family = options.family or detect_sparse(folder)
    for option, families in _ONLY.items():
        value = getattr(options, option)
        if value is not None and family not in families:
            raise InvalidArgument(f"{option} is {value!r}, but {family} has no such option; {', '.join(families)} have")
    for other in (options.expander, options.query_checkpoint):
        if other is not None:
            check_files(locate(other))
    module, function = _BUILDERS[family].split(".")
    build: Callable[..., Loaded] = getattr(import_module(f".{module}", __package__), function)
    loaded = build(folder, options, device)
    spec = SparseSpec(name, family, loaded.keys, loaded.lengths[0], loaded.lengths[1], _fingerprint(folder, options))
    return SparseCheckpoint(spec, loaded)


def detect_sparse(folder: Path) -> str:
    """The family of a checkpoint folder by the first sign that holds; FAMILIES has what it may be.

    A plain masked language model is `splade`: SPLADE, SPLADE-doc and SLIM save the same files, so `family` must say if
    it is another of them.

    Raises:
        InvalidArgument: token vectors (COIL, ColBERT), or neither a head nor a projection.
    """
    from ..models.weights import keys_of

    if is_sparse_modules(folder):
        return "sentence-transformers"
    if (folder / COIL).exists():
        raise InvalidArgument(f"{folder} has {COIL}, so it is COIL, which gives token vectors; use load_encoder")
    keys = keys_of(folder)
    if any(key.startswith("encoder_p.") for key in keys):
        return "svdr"
    architectures = " ".join(read_json(folder / "config.json", {}).get("architectures") or [])
    if any(key.endswith("tok_proj.weight") for key in keys):
        coil = any(key.startswith("coil_encoder.") for key in keys) or "coil" in architectures.lower()
        return "unicoil" if coil else "tildev2"
    if any(key.startswith("coil_encoder.") for key in keys) or "TILDEv2" in architectures:
        raise InvalidArgument(f"{folder} lacks tok_proj.weight, its projection; fetch the whole checkpoint")
    if "ForMaskedLM" in architectures:
        return "dupmae" if "cls_proj.weight" in keys else "splade"
    raise InvalidArgument(
        f"{folder} ({architectures or 'no architecture named'}) has neither a masked language model's head nor tok_proj: "
        "no sparse family; if it is a ColBERT, use load_encoder"
    )


def _fingerprint(folder: Path, options: SparseOptions) -> str:
    """Other folders count by what they hold, not by where they lie."""
    digest = hashlib.sha256(fingerprint(folder, replace(options, expander=None, query_checkpoint=None)).encode())
    for other in (options.expander, options.query_checkpoint):
        digest.update((fingerprint(locate(other), SparseOptions()) if other else "none").encode())
    return digest.hexdigest()


def load_sparse_encoder(
    name: str, options: SparseOptions = SparseOptions(), *, device: str = "cpu", threads: int | None = None
) -> SparseEncoder:
    """`binary`, a folder that holds a checkpoint, or a hub id that lies in the local hub cache (or can be downloaded).

    COIL gives token vectors, not terms: `load_encoder` loads it.

    Args:
        device: where the model runs, `cpu` or `cuda[:n]`.
        threads: CPU threads of torch, for the whole process; None leaves torch's own choice.

    Raises:
        FailedPrecondition: the extra that carries this encoder, or the device, is missing.
        NotFound: no such folder or checkpoint.
        InvalidArgument: no sparse family that plait knows, a head or projection is missing, or an option that the
            family does not have.
    """
    if name == BINARY:
        from .bag_of_tokens import embedded

        return embedded(options)

    return load_sparse_checkpoint(name, options, device=device, threads=threads)
