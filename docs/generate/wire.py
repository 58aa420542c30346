"""The page of the protocol, from the .proto files and their comments."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc_tools
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc
from plait.service.wire import access_pb2
from tables import code, prose, sections, table

PROTO = Path(__file__).parents[2] / "proto"
HEAD = """# The protocol

gRPC, package `plait.v1`, from the files in `proto/plait/v1`. Each RPC names the scope that a key needs. Field numbers
never change meaning. Errors carry a status code and details; [operating a server](../how-to/operate.md) lists what is
refused."""
SERVICE, MESSAGE, ENUM, FIELD, VALUE, RPC = 6, 4, 5, 2, 2, 2
"""Field numbers in a descriptor, of which the paths to comments are made."""
Comments = dict[tuple[int, ...], str]


def page() -> str:
    files = [(file, _comments(file)) for file in _descriptors()]
    parts = [HEAD, "## Services"]
    parts += [part for file, comments in files for part in _services(file, comments)]
    parts.append("## Messages")
    parts += [part for file, comments in files for part in _messages(file, comments)]
    parts.append("## Enumerations")
    return sections([*parts, *(part for file, comments in files for part in _enums(file, comments))])


def _descriptors() -> list[FileDescriptorProto]:
    names = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("plait/v1/*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "all")
        known = Path(grpc_tools.__file__).parent / "_proto"
        taken = [f"-I{PROTO}", f"-I{known}", f"--descriptor_set_out={out}", "--include_source_info"]
        if protoc.main(["protoc", *taken, *names]):
            raise SystemExit("protoc cannot read the .proto files")
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def _comments(file: FileDescriptorProto) -> Comments:
    return {tuple(one.path): prose(one.leading_comments) for one in file.source_code_info.location}


def _services(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    for number, service in enumerate(file.service):
        yield f"### {service.name}"
        yield comments.get((SERVICE, number), "")
        rows = []
        for at, rpc in enumerate(service.method):
            scope = access_pb2.Scope.Name(rpc.options.Extensions[cast(Any, access_pb2.scope)])
            request, response = (
                _call(rpc.input_type, rpc.client_streaming),
                _call(rpc.output_type, rpc.server_streaming),
            )
            shown = f"{request} → {response}"
            rows.append(
                [
                    code(rpc.name),
                    shown,
                    scope.removeprefix("SCOPE_").lower(),
                    comments.get((SERVICE, number, RPC, at), ""),
                ]
            )
        yield table(["RPC", "request and response", "scope", "what it does"], rows)


def _call(name: str, stream: bool) -> str:
    return ("stream of " if stream else "") + code(name.rpartition(".")[2])


def _messages(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    for number, message in enumerate(file.message_type):
        yield from _message(message, (MESSAGE, number), comments)


def _message(message: Any, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    yield f"### {message.name}"
    yield comments.get(path, "")
    if message.field:
        maps = {one.name: one for one in message.nested_type if one.options.map_entry}
        rows = [
            [code(one.name), _type(one, maps), str(one.number), comments.get((*path, FIELD, at), "")]
            for at, one in enumerate(message.field)
        ]
        yield table(["field", "type", "number", "what it is"], rows)
    for at, one in enumerate(message.nested_type):
        if not one.options.map_entry:
            yield from _message(one, (*path, 3, at), comments)


def _type(one: FieldDescriptorProto, maps: dict[str, Any]) -> str:
    name = one.type_name.rpartition(".")[2]
    if name in maps:
        key, value = maps[name].field
        return f"map of {_type(key, {})} to {_type(value, {})}"
    plain = code(name or FieldDescriptorProto.Type.Name(one.type).removeprefix("TYPE_").lower())
    if one.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {plain}"
    return f"{plain}, optional" if one.proto3_optional else plain


def _enums(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    for number, enum in enumerate(file.enum_type):
        yield f"### {enum.name}"
        yield comments.get((ENUM, number), "")
        rows = [
            [code(value.name), str(value.number), comments.get((ENUM, number, VALUE, at), "")]
            for at, value in enumerate(enum.value)
        ]
        yield table(["value", "number", "what it means"], rows)
