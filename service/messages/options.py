"""A search's parameters as the wire has them and as `Retriever.search` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...index.errors import InvalidArgument
from ...index.search.fusion import NORMALISE
from ...retrieval.routes.find import FUSIONS, MODES, as_filter
from ..limits import BadField, Limits
from ..wire import search_pb2 as wire
from .filters import read_filter, write_filter

_POLICIES = {
    "kth": wire.MISSING_POLICY_KTH,
    "zero": wire.MISSING_POLICY_ZERO,
    "none": wire.MISSING_POLICY_NONE,
}
_NAMED = {
    "mode": {name: wire.Mode.Value(f"MODE_{name.upper()}") for name in MODES},
    "fusion": {name: wire.Fusion.Value(f"FUSION_{name.upper()}") for name in FUSIONS},
    "normalise": {name: wire.Normalise.Value(f"NORMALISE_{name.upper()}") for name in NORMALISE},
}
_COUNTS = ("k_token", "nprobe", "candidates", "term_candidates", "depth")
_PLAIN = (*_COUNTS, "query_terms", "min_idf", "alpha", "exact", "fusion_k", "target_recall", "field", "scorer")
_LISTS = ("weights", "lanes")


_KNOWN = (*_PLAIN, *_NAMED, *_LISTS, "missing", "filter")


def write_options(search: Mapping[str, Any]) -> wire.SearchOptions:
    """What is None is left out. InvalidArgument: an unknown parameter, or a value that its field cannot hold."""
    options = wire.SearchOptions()
    for name, value in search.items():
        try:
            if value is not None or name not in _KNOWN:
                _write(name, value, options)
        except (TypeError, ValueError, KeyError) as error:
            if isinstance(error, InvalidArgument):
                raise
            raise InvalidArgument(f"{name} is {value!r:.80}, which this parameter cannot be") from None
    return options


def _write(name: str, value: Any, options: wire.SearchOptions) -> None:
    if name in _PLAIN:
        setattr(options, name, value)
    elif name in _NAMED:
        if value not in _NAMED[name]:
            raise InvalidArgument(f"{name} is {value!r}; it must be one of {', '.join(_NAMED[name])}")
        setattr(options, name, _NAMED[name][value])
    elif name in _LISTS:
        if not len(value) or isinstance(value, str):
            raise InvalidArgument(f"{name} are {value!r}; give one for each lane, or leave them out")
        getattr(options, name).extend(value)
    elif name == "missing":
        if isinstance(value, str):
            options.missing_policy = _POLICIES[value]
        else:
            options.missing_value = value
    elif name == "filter":
        write_filter(as_filter(value), options.filter)
    else:
        raise InvalidArgument(f"unknown search parameter {name!r}; known are {', '.join(_KNOWN)}")


def read_options(options: wire.SearchOptions, limits: Limits) -> dict[str, Any]:
    """Keyword arguments of a search: what is present, within the limits. BadField names what is not."""
    search: dict[str, Any] = {}
    for name in _PLAIN:
        if options.HasField(name):
            search[name] = getattr(options, name)
    for name in _COUNTS:
        if name in search:
            limits.check(name, search[name], f"options.{name}", least=1)
    for name, values in _NAMED.items():
        if number := getattr(options, name):
            search[name] = _named(values, number, f"options.{name}")
    for name in _LISTS:
        if values := getattr(options, name):
            search[name] = tuple(values)
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
