"""What a collection is made of: the record, the wire's fields and `Retriever.create` name the same settings."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plait.retrieval.encoders.encoder import EMBEDDED, EncoderOptions
from plait.retrieval.retriever import Retriever
from plait.retrieval.text.options import MADE_OF, OF_ENCODER, CollectionOptions

import plait

pytest.importorskip("grpc", reason="the extra `service` is not installed")
from plait.service.limits import BadField
from plait.service.messages.making import read_making, write_making
from plait.service.wire import collections_pb2

FIELDS = set(collections_pb2.CreateCollectionRequest.DESCRIPTOR.fields_by_name)
TEXT = st.sampled_from(["minilm", "bm25:german", "pool:2", "ö"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXT,
    "count": st.integers(2, 128),
    "texts": st.lists(TEXT, min_size=1),
    "terms": TEXT | st.dictionaries(TEXT, TEXT, min_size=1),
    "vector": st.just(True) | st.integers(1, 4096),
}
MAKING = st.fixed_dictionaries({}, optional={name: VALUES[option.kind] for name, option in MADE_OF.items()})


def test_every_setting_is_a_field_and_every_field_a_setting() -> None:
    assert FIELDS - {"collection", "term_fields", "vector_dim", "encoder_vector"} == set(MADE_OF) - {"vector"}


def test_every_setting_is_an_argument_of_create() -> None:
    parameters = inspect.signature(Retriever.create).parameters
    taken = {name: one.default for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}
    assert set(taken) - {"options"} == set(MADE_OF) - set(OF_ENCODER)
    # The attention is a reducer's to ask for.
    assert {one.name for one in fields(EncoderOptions)} - {"attention"} == set(OF_ENCODER)
    for name in ("encoder", "store", "precision"):
        assert MADE_OF[name].default == taken[name]


def test_what_is_not_given_is_left_to_create() -> None:
    assert CollectionOptions().settings() == {"encoder": EMBEDDED, "options": EncoderOptions()}
    made = CollectionOptions(encoder="none", dim=4, dtype="float16", reduce=("single",), vector=False)
    assert made.settings() == {
        "encoder": None,
        "options": EncoderOptions(dtype="float16"),
        "dim": 4,
        "reduce": ("single",),
    }


@given(MAKING)
def test_what_is_sent_is_what_comes(making: dict[str, Any]) -> None:
    options = CollectionOptions.of(making)
    sent = write_making("c", options)
    assert sent.collection == "c"
    assert read_making(collections_pb2.CreateCollectionRequest.FromString(sent.SerializeToString())) == options


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("dim", 0, "dim is 0; it must be at least 1"),
        ("query_expansion", 129, "query_expansion is 129; it must be at least 0 and at most 128"),
        ("store", 3, "store is 3; it must be a name, as text"),
        ("reduce", "pool:2", "reduce is 'pool:2'; give a list of texts"),
        ("terms", ["bm25"], r"terms is \['bm25'\]; give what makes the terms"),
        ("vector", 1.5, "vector is 1.5; it must be a whole number"),
    ],
)
def test_an_error_names_value_bound_and_field(name: str, value: Any, said: str) -> None:
    with pytest.raises(plait.InvalidArgument, match=said) as caught:
        CollectionOptions.of({name: value})
    assert caught.value.field == name


def test_fields_that_contradict_each_other() -> None:
    spec = collections_pb2.TermFieldSpec(name="a", terms="bm25")
    for request, said in (
        (collections_pb2.CreateCollectionRequest(terms="bm25", term_fields=[spec]), "not both"),
        (collections_pb2.CreateCollectionRequest(term_fields=[spec, spec]), "occurs twice"),
    ):
        with pytest.raises(BadField, match=said):
            read_making(request)
    with pytest.raises(plait.InvalidArgument, match="unknown setting 'dims'"):
        CollectionOptions.of({"dims": 3})
