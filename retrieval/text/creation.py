"""What a new collection is made of: its settings checked against each other, its encoders loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...device.placement import check_device
from ...index.catalog.schema import TermField
from ...index.errors import FailedPrecondition, InvalidArgument, NotFound
from ...index.terms import TERMS
from ..encoders.encoder import Encoder, EncoderOptions, encoder_name
from ..encoders.load import load_encoder
from ..reducers.recipe import Step, needs_attention
from ..reducers.recipe import parse as parse_recipe
from ..settings import Machine
from ..systems import system_named
from . import places
from .encoding import Encoding
from .term_side import TermSide, load_terms, without_model

_MERGING = ("pool", "single")


@dataclass(frozen=True)
class Prepared:
    """What `Collection.create` needs, and what it was made with."""

    settings: dict[str, Any]
    """As the catalog keeps them."""
    dim: int
    store: str
    terms: dict[str, TermField]
    vector: int
    encoding: Encoding | None
    """A large encoder need not be loaded twice. None: there is none."""


def prepare(
    system: str | None,
    encoder: str | os.PathLike[str] | None,
    options: EncoderOptions,
    reduce: Sequence[str],
    dim: int | None,
    terms: str | Mapping[str, str] | None,
    vector: int | bool | None,
    store: str,
    place: dict[str, Any],
) -> Prepared:
    """Arguments as `Retriever.create` has them; `place`: device and threads of the encoders.

    Raises:
        InvalidArgument: a setting out of its bounds, or two that contradict each other.
    """
    check_device(place["device"])
    steps = parse_recipe(reduce)
    encoder = None if encoder is None else places.kept(encoder_name(encoder))
    named = {TERMS: terms} if isinstance(terms, str) and terms else dict(terms or {})
    named = {name: places.kept(maker) for name, maker in named.items()}
    sides = {name: load_terms(one, **_term_options(one, options), **place) for name, one in named.items()}
    if options.dtype and encoder is None and all(map(without_model, named.values())):
        raise InvalidArgument(f"dtype is {options.dtype!r}, and no model runs for this collection; leave it out")
    stored, encoding, width = None, None, dim or 0
    if encoder is None:
        if (dim is None and not sides and not vector) or steps:
            raise InvalidArgument(
                "without an encoder, give dim (or terms, or vector), and no reducers: vectors are stored as they come"
            )
    else:
        options = replace(options, attention=options.attention or needs_attention(steps))
        loaded = load_encoder(encoder, options, **place)
        spec = loaded.spec
        if dim is not None and not 1 <= dim <= spec.dim:
            raise InvalidArgument(f"dim is {dim}; it must lie between 1 and the encoder's {spec.dim} dimensions")
        width, stored = dim or spec.dim, {"name": encoder, "options": asdict(options), "spec": asdict(spec)}
        encoding = Encoding(loaded, steps, dim)
    chosen = system_named(_system(system, encoding, dim, steps))
    source, whole = _vector(vector, encoding, sides)
    settings = {"system": chosen.name, "encoder": stored, "recipe": [s.spec for s in steps], "dim": dim}
    stored_terms = {
        n: {"name": named[n], **_term_options(named[n], options), "fingerprint": side.fingerprint}
        for n, side in sides.items()
    }
    settings["terms"] = stored_terms.get(TERMS)
    if stored_terms.keys() - {TERMS}:
        settings["term_fields"] = stored_terms
    if source:
        settings["vector"] = source
    kept = {name: side.field for name, side in sides.items()}
    return Prepared(settings, width, chosen.store if store == "auto" else store, kept, whole, encoding)


def encoding_of(settings: Mapping[str, Any], elsewhere: Mapping[str, str], place: Mapping[str, Any]) -> Encoding:
    """The text side that a collection was made with, as its settings say.

    Args:
        elsewhere: where checkpoints lie now that have moved (`places.moved`).
        place: device and threads of the encoder.

    Raises:
        FailedPrecondition: the collection takes token vectors only, or the encoder is another.
        NotFound: the checkpoint is not there.
    """
    stored = settings["encoder"]
    if stored is None:
        raise FailedPrecondition("this collection was made without an encoder; give token vectors (add_tokens, Tokens)")
    name = places.at(stored["name"], elsewhere)
    try:
        encoder = load_encoder(name, EncoderOptions(**stored["options"]), **place)
    except NotFound as error:
        raise places.not_there(name, error) from None
    if encoder.spec.fingerprint != stored["spec"]["fingerprint"]:
        raise FailedPrecondition(
            f"the encoder {name} is not the one that this collection was built with; restore that, or build anew"
        )
    return Encoding(encoder, parse_recipe(settings["recipe"]), settings["dim"])


def check_machine(given: Mapping[str, Any]) -> None:
    """InvalidArgument: a name that is neither a setting of a collection nor an option of opening it."""
    if unknown := sorted(given.keys() - Machine.__annotations__.keys()):
        hint = "; reducers go into reduce, as in reduce=['pool:2']" if {"pool", "prune"} & set(unknown) else ""
        known = ", ".join(Machine.__annotations__)
        raise InvalidArgument(f"unknown setting {unknown[0]!r}{hint}; an index is opened with {known}")


def _term_options(name: str, options: EncoderOptions) -> dict[str, Any]:
    """What of the options holds for a term field, as the catalog keeps it; a dtype that
    nobody asked for is not kept."""
    kept: dict[str, Any] = {"query_length": options.query_length, "document_length": options.document_length}
    return kept if options.dtype is None or without_model(name) else {**kept, "dtype": options.dtype}


def _system(name: str | None, encoding: Encoding | None, dim: int | None, steps: Sequence[Step]) -> str:
    """The system by name, or that of the encoder."""
    coil = encoding is not None and encoding.encoder.spec.family == "coil"
    if coil and name not in (None, "coil"):
        raise InvalidArgument(f"system is {name!r}, and COIL's vectors are only comparable at equal ids; leave it out")
    if coil and dim is not None:
        raise InvalidArgument(f"dim is {dim}; COIL's vectors are stored at full length, because their lengths count")
    chosen = name or ("coil" if coil else "colbert")
    merging = [s.spec for s in steps if s.spec.partition(":")[0] in _MERGING]
    if chosen == "coil" and merging:
        raise InvalidArgument(
            f"{merging[0]} merges tokens of different ids, which COIL keeps apart; use first:N or idf:N"
        )
    return chosen


def _vector(
    asked: int | bool | None, encoding: Encoding | None, sides: Mapping[str, TermSide]
) -> tuple[str | None, int]:
    """Where global vectors come from (`encoder`, `terms`, `given`; None: there are none), and their dimensions."""
    whole = [side for side in sides.values() if side.vector]
    if len(whole) > 1:
        raise InvalidArgument(
            f"{whole[0].name} and {whole[1].name} both make a vector; a document has one: keep one of them"
        )
    for side in whole:
        if asked or encoding is not None:
            raise InvalidArgument(
                f"{side.name} makes terms and a vector, scored together; leave encoder and vector out"
            )
        return "terms", side.vector
    if encoding is None:
        if asked is True:
            raise InvalidArgument("vector is True, and without an encoder nothing makes one; say its dimensions")
        return ("given", int(asked)) if asked else (None, 0)
    own = _width(encoding.encoder) if asked or encoding.encoder.spec.family == "coil" else 0
    if asked and asked is not True and asked != own:
        raise InvalidArgument(f"vector is {asked}, and the encoder makes one of {own} dimensions; say True")
    if asked and not own:
        raise InvalidArgument("vector is asked for, and this encoder makes none; leave it out")
    return ("encoder", own) if own else (None, 0)


def _width(encoder: Encoder) -> int:
    """Dimensions of the single vector that an encoder makes of a text; 0: it makes none."""
    whole = encoder.encode_queries(["a"]).globals_
    return 0 if whole is None else whole.shape[1]
