"""The protocol: generated code is what the sources make, every RPC says who may call it, names follow one style."""

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from served import PROTO, descriptors, services

WIRE = Path(__file__).parent.parent / "service" / "wire"


def test_generated_code_is_what_the_sources_make(tmp_path: Path) -> None:
    runpy.run_path(str(PROTO / "generate.py"))["generate"](tmp_path)
    made = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert made == {p.name: p.read_text() for p in WIRE.glob("*_pb2*")}, "run make proto"


def test_every_rpc_names_its_scope() -> None:
    from plait.service.protocol import SCOPES

    assert SCOPES.keys() == {f"/{s.full_name}/{m.name}" for s in services() for m in s.methods}
    assert not [path for path, scope in SCOPES.items() if scope not in (1, 2, 3)]


def test_names_follow_the_style_of_buf() -> None:
    ours = [f for f in descriptors().file if f.package == "plait.v1"]
    requests = [m.input_type.name for s in services() for m in s.methods]
    answers = [m.output_type.name for s in services() for m in s.methods]
    names = [m.name for s in services() for m in s.methods]
    assert requests == [f"{n}Request" for n in names] and answers == [f"{n}Response" for n in names]
    assert len(set(names)) == len(names)
    for file in ours:
        assert re.fullmatch(r"plait/v1/[a-z_]+\.proto", file.name)
        assert all(s.name.endswith("Service") for s in file.service)
        for enum in file.enum_type:
            prefix = re.sub(r"(?<!^)([A-Z])", r"_\1", enum.name).upper()
            assert enum.value[0].name == f"{prefix}_UNSPECIFIED" and enum.value[0].number == 0
            assert all(v.name.startswith(f"{prefix}_") for v in enum.value)
        for message in file.message_type:
            assert all(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", f.name) for f in message.field)
