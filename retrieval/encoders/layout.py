"""The sentence-transformers model of a checkpoint folder, with its lengths and query expansion settled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling, MultiVectorMask
from transformers.utils import logging

from ...index.errors import InvalidArgument
from ..models.forward import precision
from ..models.intact import read_json
from ..models.weights import OFFSET_POSITIONS, UNREADABLE, check_finite, check_model
from .encoder import EncoderOptions

# Query and document length where the checkpoint does not say.
_LENGTHS = {"plain": (160, 256), "xtr": (512, 512)}
_PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}
# The longest text that `EncoderOptions` admits.
_UNBOUNDED = 8192


def open_model(
    folder: Path, family: str, *, device: str, options: EncoderOptions
) -> MultiVectorEncoder | SentenceTransformer:
    """The model in evaluation mode. `options.attention` selects the slower kernel that can tell its weights.

    Raises:
        InvalidArgument: a file is missing, malformed or unsafe, weights are missing, left over or not finite, or the
            model has a part that plait cannot place.
    """
    # Its bar for a second's work would stand among plait's own progress.
    logging.disable_progress_bar()
    kwargs = {"attn_implementation": "eager"} if options.attention else {}
    try:
        model = _build(folder, family, device, kwargs)
    except UNREADABLE as error:
        raise InvalidArgument(f"{folder} does not load as a {family} checkpoint: {error}") from error
    if not isinstance(model[0], Transformer) or not getattr(model.tokenizer, "is_fast", False):
        raise InvalidArgument(f"{folder} starts with {type(model[0]).__name__}; plait needs a text transformer")
    if any(isinstance(module, BaseTokenPooling) for module in model):
        raise InvalidArgument(
            f"{folder} pools its tokens; drop that module from modules.json and pool in the collection"
        )
    transformer: Any = model[0]
    check_finite(folder, model)
    modules = read_json(folder / "modules.json", [{}])
    check_model(folder / modules[0].get("path", ""), transformer.model, model.tokenizer)
    return model.to(precision(options.dtype, device, transformer.config.model_type)).eval()


def _build(folder: Path, family: str, device: str, kwargs: dict[str, Any]) -> MultiVectorEncoder | SentenceTransformer:
    if family == "xtr":
        return MultiVectorEncoder(modules=_xtr(str(folder), kwargs), device=device)
    cls = SentenceTransformer if family == "plain" else MultiVectorEncoder
    return cls(str(folder), device=device, trust_remote_code=False, local_files_only=True, model_kwargs=kwargs)


def _xtr(folder: str, kwargs: dict[str, Any]) -> list[Any]:
    """XTR (arXiv 2304.01982): lower-cased text, no markers, no expansion, no skiplist, the end token kept.

    The published folder has no modules.json, without which a generic loader loses the projection.
    """
    token_level = {"module_input_name": "token_embeddings"}
    return [
        Transformer(folder, do_lower_case=True, model_kwargs={**kwargs, "local_files_only": True}),
        Dense.load(folder, subfolder="2_Dense", local_files_only=True, init_defaults=token_level),
        MultiVectorMask(),
        Normalize(module_input_name="token_embeddings"),
    ]


def prompt_of(model: Any, task: str) -> str | None:
    """The marker or instruction that goes before the texts of a task, `query` or
    `document`. None: the model names none."""
    prompts: dict[str, str | None] = model.prompts
    return next((prompts[name] or "" for name in _PROMPTS[task] if name in prompts), None)


def settle(transformer: Any, family: str, options: EncoderOptions) -> tuple[int, int, int]:
    """Writes lengths and expansion into the transformer: what the options say, or else the checkpoint.

    Returns:
        Query length, document length, and the length that queries are filled up to (0: none).

    Raises:
        InvalidArgument: more tokens than the model has positions, or an expansion that the checkpoint cannot do.
    """
    expansion = transformer.query_expansion
    query, document = _lengths(transformer, family)
    query, document = options.query_length or query, options.document_length or document
    fill = expansion["length"] if expansion else 0
    if options.query_expansion is not None:
        fill = options.query_expansion
    if options.query_length is None:
        query = max(query, fill)
    _check(transformer, query, document, fill)
    # The expansion is checked against the query length when either is set: clear it first.
    transformer.query_expansion = None
    transformer.query_length, transformer.document_length = query, document
    if fill:
        strategy = "fixed" if fill == query else "min"
        transformer.query_expansion = {**(expansion or {}), "strategy": strategy, "length": fill}
    return query, document, fill


def _lengths(transformer: Any, family: str) -> tuple[int, int]:
    """Query and document length that the checkpoint says or that its family has."""
    longest = min(transformer.max_seq_length or _UNBOUNDED, _positions(transformer))
    expansion = transformer.query_expansion
    query = expansion["length"] if expansion and expansion["strategy"] == "fixed" else transformer.query_length
    defaults = [min(length, longest) for length in _LENGTHS.get(family, (_UNBOUNDED, _UNBOUNDED))]
    return query or defaults[0], transformer.document_length or defaults[1]


def _check(transformer: Any, query: int, document: int, fill: int) -> None:
    for name, value in (("query_length", query), ("document_length", document)):
        if value > _positions(transformer):
            raise InvalidArgument(f"{name} is {value}; this model has {_positions(transformer)} positions")
    if fill > query:
        raise InvalidArgument(
            f"query_length {query} is below the {fill} tokens that queries are filled up to; set query_expansion too"
        )
    if fill and transformer.query_expansion is None and transformer.tokenizer.mask_token is None:
        raise InvalidArgument(f"query_expansion is {fill}, but this checkpoint has no [MASK] token; set it to 0")


def _positions(transformer: Any) -> int:
    positions = getattr(transformer.config, "max_position_embeddings", None) or _UNBOUNDED
    return positions - 2 if transformer.config.model_type in OFFSET_POSITIONS else positions
