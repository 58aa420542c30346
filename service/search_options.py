"""A search's parameters as the wire has them and as `Retriever.search` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..index.errors import InvalidArgument
from ..retrieval.routes import as_filter
from .limits import BadField, Limits
from .wire import search_pb2 as wire
from .wire_filters import read_filter, write_filter

_MODES = {"tokens": wire.MODE_TOKENS, "terms": wire.MODE_TERMS, "hybrid": wire.MODE_HYBRID, "rerank": wire.MODE_RERANK}
_POLICIES = {
    "kth": wire.MISSING_POLICY_KTH,
    "zero": wire.MISSING_POLICY_ZERO,
    "none": wire.MISSING_POLICY_NONE,
}
_COUNTS = ("k_token", "nprobe", "candidates", "depth")
_PLAIN = (*_COUNTS, "exact", "fusion_k", "target_recall")


def write_options(search: Mapping[str, Any]) -> wire.SearchOptions:
    """InvalidArgument: an unknown parameter, or a value that its field cannot hold."""
    options = wire.SearchOptions()
    for name, value in search.items():
        try:
            _write(name, value, options)
        except (TypeError, ValueError, KeyError) as error:
            if isinstance(error, InvalidArgument):
                raise
            raise InvalidArgument(f"{name} is {value!r:.80}, which this parameter cannot be") from None
    return options


def _write(name: str, value: Any, options: wire.SearchOptions) -> None:
    if name in _PLAIN:
        setattr(options, name, value)
    elif name == "mode":
        if value not in _MODES:
            raise InvalidArgument(f"mode is {value!r}; it must be one of {', '.join(_MODES)}")
        options.mode = _MODES[value]
    elif name == "weights":
        options.token_weight, options.term_weight = value
    elif name == "missing":
        if isinstance(value, str):
            options.missing_policy = _POLICIES[value]
        else:
            options.missing_value = value
    elif name == "filter":
        write_filter(as_filter(value), options.filter)
    else:
        known = [*_PLAIN, "mode", "weights", "missing", "filter"]
        raise InvalidArgument(f"unknown search parameter {name!r}; known are {', '.join(known)}")


def read_options(options: wire.SearchOptions, limits: Limits) -> dict[str, Any]:
    """Keyword arguments of a search: what is present, within the limits. BadField names what is not."""
    search: dict[str, Any] = {}
    for name in _PLAIN:
        if options.HasField(name):
            search[name] = getattr(options, name)
    for name in _COUNTS:
        if name in search:
            limits.check(name, search[name], f"options.{name}", least=1)
    if options.mode:
        search["mode"] = _named(_MODES, options.mode, "options.mode")
    if options.HasField("token_weight") or options.HasField("term_weight"):
        given = [getattr(options, n) if options.HasField(n) else 1.0 for n in ("token_weight", "term_weight")]
        search["weights"] = tuple(given)
    match options.WhichOneof("missing"):
        case "missing_policy":
            search["missing"] = _named(_POLICIES, options.missing_policy, "options.missing_policy")
        case "missing_value":
            search["missing"] = options.missing_value
    if options.HasField("filter"):
        search["filter"] = read_filter(options.filter, limits, "options.filter")
    return search


def _named(names: dict[str, Any], number: int, field: str) -> str:
    for name, value in names.items():
        if value == number:
            return name
    raise BadField(field, f"{field} is {number}; it must be one of {', '.join(names)}")
