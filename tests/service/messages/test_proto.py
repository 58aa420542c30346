"""The protocol: generated code is what the sources make, every RPC says who may call it, names follow one style."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from served import PROTO, descriptors, pool, services

WIRE = ROOT / "service" / "wire"


def test_generated_code_is_what_the_sources_make(tmp_path: Path) -> None:
    runpy.run_path(str(PROTO / "generate.py"))["generate"](tmp_path)
    made = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert made == {p.name: p.read_text() for p in WIRE.glob("*_pb2*")}, "run make proto"


def test_every_rpc_names_its_scope() -> None:
    from plait.service.messages.protocol import SCOPES

    assert SCOPES.keys() == {f"/{s.full_name}/{m.name}" for s in services() for m in s.methods}
    assert not [path for path, scope in SCOPES.items() if scope not in (1, 2, 3)]


SNAKE, PASCAL = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*"), re.compile(r"([A-Z][a-z0-9]*)+")
FILES = [f for f in descriptors().file if f.name.startswith("plait/")]
METHODS = [m for service in services() for m in service.methods]
NUMBERS = {"double", "float", "int32", "int64", "sint32", "sint64", "uint32", "uint64"}


def messages(file: FileDescriptorProto) -> Iterator[DescriptorProto]:
    """All of a file, those inside others too; not the entries of maps, which nobody names."""
    rest = list(file.message_type)
    while rest:
        one = rest.pop()
        if not one.options.map_entry:
            rest += one.nested_type
            yield one


@pytest.mark.parametrize("file", FILES, ids=[f.name for f in FILES])
def test_names_follow_the_style_of_buf(file: FileDescriptorProto) -> None:
    package, _, name = file.name.rpartition("/")
    assert file.package == package.replace("/", ".") and re.fullmatch(r".*\.v\d+", file.package)
    assert re.fullmatch(SNAKE, name.removesuffix(".proto")) and file.syntax == "proto3"
    assert all(re.fullmatch(PASCAL, s.name) and s.name.endswith("Service") for s in file.service)
    for message in messages(file):
        assert re.fullmatch(PASCAL, message.name)
        # A field with presence is a oneof of its own, whose name begins with an underscore.
        names = [*(f.name for f in message.field), *(o.name.removeprefix("_") for o in message.oneof_decl)]
        assert [n for n in names if not re.fullmatch(SNAKE, n)] == []
        assert not message.enum_type, "enums stand beside messages, so that their values need no other prefix"
    for enum in file.enum_type:
        prefix = re.sub(r"(?<!^)([A-Z])", r"_\1", enum.name).upper()
        assert re.fullmatch(PASCAL, enum.name)
        assert enum.value[0].name == f"{prefix}_UNSPECIFIED" and enum.value[0].number == 0
        assert all(re.fullmatch(f"{prefix}_[A-Z0-9_]+", v.name) for v in enum.value)


def test_requests_and_answers_are_named_after_their_rpc_and_of_it_alone() -> None:
    assert [m.input_type.name for m in METHODS] == [f"{m.name}Request" for m in METHODS]
    assert [m.output_type.name for m in METHODS] == [f"{m.name}Response" for m in METHODS]
    assert len({m.name for m in METHODS}) == len(METHODS)


def test_a_number_that_is_left_out_of_a_request_is_not_a_zero() -> None:
    """Numbers tune: each has presence, so that a server may choose, and choose better, for whoever does not."""
    tuned = {m.input_type.name: m.input_type for m in METHODS}
    tuned |= {"SearchOptions": pool().FindMessageTypeByName("plait.v1.SearchOptions")}
    found = {f"{name}.{f.name}": f for name, kind in tuned.items() for f in kind.fields if not f.is_repeated}
    numbers = {name for name, f in found.items() if kind_of(f) in NUMBERS}
    assert [name for name in sorted(numbers) if not found[name].has_presence] == []
    assert {"SearchRequest.k", "SearchOptions.alpha", "ListDocumentsRequest.page_size"} <= numbers
    # Of all others, what SearchOptions leaves out is the collection's own choice.
    assert [n for n, f in found.items() if n.startswith("SearchOptions.") and not f.has_presence] == []


def kind_of(field: FieldDescriptor) -> str:
    kind = FieldDescriptorProto.Type.Name(field.type)  # type: ignore[arg-type]
    return kind.removeprefix("TYPE_").lower()


@pytest.mark.parametrize("file", [f for f in FILES if f.service], ids=[f.name for f in FILES if f.service])
def test_every_service_and_every_rpc_says_what_it_does(file: FileDescriptorProto) -> None:
    said = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
    for s, service in enumerate(file.service):
        # 6: the services of a file; 2: the methods of a service (descriptor.proto).
        assert len(said[6, s].split()) >= 3, service.name
        for m, method in enumerate(service.method):
            assert len(said[6, s, 2, m].split()) >= 3, method.name
