"""The wire's options are those of the record, each under its own name, and mean the same on both sides."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plait.retrieval.routes.options import OPTIONS, SearchOptions

import plait

pytest.importorskip("grpc", reason="the extra `service` is not installed")
from plait.service.limits import BadField, Limits
from plait.service.messages.options import read_options, write_options
from plait.service.messages.status import to_status
from plait.service.wire import search_pb2

FIELDS = search_pb2.SearchOptions.DESCRIPTOR.fields_by_name
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "flag": st.booleans(),
    "count": st.integers(1, 9_999),
    "number": st.floats(0.125, 1),
    "name": st.sampled_from(["tokens", "bm25"]),
    "names": st.lists(st.sampled_from(["tokens", "bm25", "ö"]), min_size=1),
    "numbers": st.lists(st.floats(-9, 9), min_size=1),
    "missing": st.sampled_from(["kth", "zero", "none", -0.25, 3]),
    "filter": st.sampled_from([{"year": 2020}, {"or": [{"exists": "a"}, {"range": {"b": {"gt": "x"}}}]}]),
}
SEARCH = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(option.choices) if option.kind == "choice" else VALUES[option.kind]
        for name, option in OPTIONS.items()
    },
)


def test_every_option_is_a_field_and_every_field_an_option() -> None:
    assert set(FIELDS) - {"missing_policy", "missing_value"} == set(OPTIONS) - {"missing"}


def enum_of(field: str) -> dict[int, str]:
    kind: Any = FIELDS[field].enum_type
    return {value.number: value.name for value in kind.values}


def test_every_choice_is_a_value_of_its_enum() -> None:
    for name, option in OPTIONS.items():
        if option.choices:
            field = name if option.kind == "choice" else f"{name}_policy"
            for choice in option.choices:
                sent, values = write_options(SearchOptions.of({name: choice})), enum_of(field)
                assert values[getattr(sent, field)] == f"{field}_{choice}".upper()


@given(SEARCH)
def test_what_is_sent_is_what_comes(search: dict[str, Any]) -> None:
    options = SearchOptions.of(search)
    sent = write_options(options)
    assert read_options(search_pb2.SearchOptions.FromString(sent.SerializeToString()), Limits()) == options
    assert {f.name.partition("_policy")[0].partition("_value")[0] for f, _ in sent.ListFields()} == set(search)


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"nprobe": 0}, "options.nprobe"),
        ({"nprobe": 70_000}, "options.nprobe"),
        ({"query_terms": 0}, "options.query_terms"),
        ({"alpha": 2.0}, "options.alpha"),
        ({"mode": 99}, "options.mode"),
        ({"missing_policy": 99}, "options.missing_policy"),
        ({"weights": [float("inf")]}, "options.weights"),
    ],
)
def test_what_cannot_be_names_the_field(fields: dict[str, Any], at: str) -> None:
    with pytest.raises(plait.InvalidArgument) as caught:
        read_options(search_pb2.SearchOptions(**fields), Limits())
    status = to_status(caught.value, None, "1")
    assert at in str(status.details[1].value)


def test_the_field_at_fault_is_data() -> None:
    for error, at in (
        (plait.InvalidArgument("anything at all", field="nprobe"), "options.nprobe"),
        (plait.InvalidArgument("k is 3; no", field="k"), "k"),
        (plait.InvalidArgument("nprobe is 3; a text alone names no field"), ""),
        (BadField("filter", "no option, though it is called like one"), "filter"),
    ):
        from google.rpc.error_details_pb2 import BadRequest

        detail = BadRequest()
        assert to_status(error, None, "1").details[1].Unpack(detail)
        assert [v.field for v in detail.field_violations] == [at]
