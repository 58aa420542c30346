"""What a collection is made of, on the wire: a loop over `CollectionOptions`, whose names are the fields' names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...retrieval.routes.option import Option
from ...retrieval.text.options import MADE_OF, CollectionOptions
from ..limits import BadField
from ..wire import collections_pb2 as wire


def write_making(collection: str, options: CollectionOptions) -> wire.CreateCollectionRequest:
    """The request for a collection of this name: what was given, and nothing else."""
    message = wire.CreateCollectionRequest(collection=collection)
    for name, value in options.given().items():
        match MADE_OF[name].kind:
            case "texts":
                getattr(message, name).extend(value)
            case "terms" if isinstance(value, Mapping):
                message.term_fields.extend(wire.TermFieldSpec(name=one, terms=maker) for one, maker in value.items())
            case "vector" if value is True:
                message.encoder_vector = True
            case "vector":
                message.vector_dim = value
            case _:
                setattr(message, name, value)
    return message


def read_making(message: wire.CreateCollectionRequest) -> CollectionOptions:
    """What is present. InvalidArgument names the setting; BadField: term fields that contradict each other."""
    return CollectionOptions(**{name: _read(name, option, message) for name, option in MADE_OF.items()})


def _read(name: str, option: Option, message: wire.CreateCollectionRequest) -> Any:
    """The value of a setting; None: it is not there."""
    if option.kind == "texts":
        return tuple(getattr(message, name)) or None
    if option.kind == "vector":
        return message.encoder_vector or message.vector_dim or None
    if option.kind == "terms" and message.term_fields:
        return _fields(message)
    return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]


def _fields(message: wire.CreateCollectionRequest) -> dict[str, str]:
    if message.HasField("terms"):
        raise BadField("terms", "give terms or term_fields, not both")
    fields = {field.name: field.terms for field in message.term_fields}
    if len(fields) < len(message.term_fields):
        names = [field.name for field in message.term_fields]
        raise BadField("term_fields", f"term_fields are {names}; a name occurs twice")
    return fields
