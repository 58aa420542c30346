"""A real server process, and a client made from `proto/` alone: no generated code, nothing of plait."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_tools import protoc
from paths import ROOT, TESTS

PROTO = ROOT / "proto"


COMMAND = "from plait.service.cli.main import main; main()"


class Server:
    """A `plait serve` of a folder on a free port, with arguments and settings."""

    def __init__(self, root: Path, *arguments: str, **settings: Any):
        values = {n: value if isinstance(value, str) else json.dumps(value) for n, value in settings.items()}
        run = [COMMAND, "serve", str(root), "--listen", "127.0.0.1:0", *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-c", *run, *(f"--set={n}={value}" for n, value in values.items())],
            stderr=subprocess.PIPE,
            text=True,
            cwd=TESTS,
        )
        assert self.process.stderr is not None
        self.log: list[str] = []
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"serving .* on (\S+):(\d+)", line):
                self.target = f"127.0.0.1:{found[2]}"
                # A server whose log nobody reads stops at a full pipe.
                self._reader = threading.Thread(target=self._read, daemon=True)
                self._reader.start()
                return
        raise AssertionError(f"the server ended with {self.process.wait()}: {''.join(self.log)}")

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self.log.append(line)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@contextmanager
def serving(root: Path, *arguments: str, **settings: Any) -> Iterator[Server]:
    server = Server(root, *arguments, **settings)
    try:
        yield server
    finally:
        code = server.stop()
    assert code == 0 and "Traceback" not in "".join(server.log), "".join(server.log)


@cache
def descriptors() -> descriptor_pb2.FileDescriptorSet:
    """All files of the protocol and what they import."""
    sources = sorted(str(p) for p in PROTO.glob("plait/v1/*.proto"))
    with tempfile.NamedTemporaryFile() as made:
        known = Path(protoc.__file__).parent / "_proto"
        arguments = [
            f"-I{PROTO}",
            f"-I{known}",
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={made.name}",
        ]
        assert protoc.main(["protoc", *arguments, *sources]) == 0
        return descriptor_pb2.FileDescriptorSet.FromString(Path(made.name).read_bytes())


@cache
def pool() -> descriptor_pool.DescriptorPool:
    known = descriptor_pool.DescriptorPool()
    for file in descriptors().file:
        known.Add(file)  # type: ignore[attr-defined]
    return known


def services() -> list[Any]:
    names = [f"{file.package}.{s.name}" for file in descriptors().file for s in file.service]
    return [pool().FindServiceByName(name) for name in names]


def method(name: str) -> Any:
    """The descriptor of `Search`, whichever service has it."""
    (found,) = [s.methods_by_name[name] for s in services() if name in s.methods_by_name]
    return found


def message(kind: Any, fields: dict[str, Any]) -> Any:
    """A message of this descriptor from JSON; bytes stay bytes."""
    return json_format.ParseDict(fields, message_factory.GetMessageClass(kind)(), descriptor_pool=pool())


class Wire:
    """Calls by name, requests as JSON: `wire("Search", collection="c", query={"text": "?"})`."""

    def __init__(self, target: str, metadata: Iterable[tuple[str, str]] = ()):
        sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        sizes.append(("grpc.use_local_subchannel_pool", 1))  # its own connection
        self.channel, self._metadata = grpc.insecure_channel(target, options=sizes), tuple(metadata)

    def __call__(self, rpc: str, /, timeout: float | None = 30, **fields: Any) -> Any:
        called = method(rpc)
        return self.raw(rpc, message(called.input_type, fields).SerializeToString(), timeout)

    def raw(self, name: str, data: bytes, timeout: float | None = 30) -> Any:
        return self._stub(name, lambda b: b)(data, timeout=timeout, metadata=self._metadata)

    def ended(self, operation: Any) -> Any:
        """The operation when it is over."""
        request = message(method("WatchOperation").input_type, {"id": operation.id})
        *_, last = self.raw("WatchOperation", request.SerializeToString())
        return last.operation

    def begin(self, name: str, data: bytes, timeout: float | None = 30) -> Any:
        """The call under way."""
        return self._stub(name, lambda b: b).future(data, timeout=timeout, metadata=self._metadata)

    def stream(self, name: str, requests: Iterable[dict[str, Any]], timeout: float | None = 30) -> Any:
        called = method(name)
        data = (message(called.input_type, fields) for fields in requests)
        return self._stub(name, lambda m: m.SerializeToString())(data, timeout=timeout, metadata=self._metadata)

    def _stub(self, name: str, serialize: Any) -> Any:
        called = method(name)
        kinds = ("unary", "stream")
        make = f"{kinds[called.client_streaming]}_{kinds[called.server_streaming]}"
        path = f"/{called.containing_service.full_name}/{name}"
        return getattr(self.channel, make)(
            path, serialize, message_factory.GetMessageClass(called.output_type).FromString
        )

    def error(self, rpc: str, /, timeout: float | None = 30, **fields: Any) -> tuple[str, str, dict[str, Any]]:
        """(code, message, details by type) of a call that must fail."""
        try:
            answer = self(rpc, timeout, **fields)
        except grpc.RpcError as error:
            return failure(error)
        raise AssertionError(f"{rpc} gave {answer}")

    def close(self) -> None:
        self.channel.close()


def code(run: Any) -> str:
    """The status code that a call ends with; OK where it does not fail."""
    try:
        run()
    except grpc.RpcError as error:
        return failure(error)[0]
    return "OK"


def failure(error: Any) -> tuple[str, str, dict[str, Any]]:
    details = {}
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for packed in status_pb2.Status.FromString(value).details:
                kind = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
                assert packed.Unpack(kind)
                details[type(kind).__name__] = kind
    return error.code().name, error.details(), details


def tensor(matrix: Any, dtype: str = "D_TYPE_FLOAT32") -> dict[str, Any]:
    """A `Tensor` as JSON, from an array that has its type already."""
    data = base64.b64encode(matrix.tobytes()).decode()
    return {"data": data, "dtype": dtype, "rows": matrix.shape[0], "cols": matrix.shape[1]}
