"""What a client in any language does, with nothing of plait but the protocol: modules
made from `proto/`, then calls."""

import subprocess
import sys
import tempfile
from pathlib import Path

PROTO = Path(__file__).resolve().parents[2] / "proto"
made = Path(tempfile.mkdtemp())
files = sorted(str(p) for p in PROTO.glob("plait/v1/*.proto"))
compiler = [
    sys.executable,
    "-m",
    "grpc_tools.protoc",
    f"-I{PROTO}",
    f"--python_out={made}",
    f"--grpc_python_out={made}",
]
subprocess.run([*compiler, *files], check=True)
# The modules call themselves plait.v1; in this process nothing else may be called plait.
(made / "plait" / "__init__.py").touch()
sys.meta_path = [finder for finder in sys.meta_path if "Editable" not in type(finder).__name__]
sys.path.insert(0, str(made))

import struct  # noqa: E402

import grpc  # noqa: E402
from google.rpc import error_details_pb2  # noqa: E402
from grpc_status import rpc_status  # noqa: E402
from plait.v1 import collections_pb2, documents_pb2, search_pb2, vectors_pb2  # type: ignore # noqa: E402
from plait.v1.collections_pb2_grpc import CollectionServiceStub  # type: ignore # noqa: E402
from plait.v1.documents_pb2_grpc import DocumentServiceStub  # type: ignore # noqa: E402
from plait.v1.search_pb2_grpc import SearchServiceStub  # type: ignore # noqa: E402


def tokens(*rows: list[float]) -> vectors_pb2.TokenVectors:
    """Vectors travel as little-endian bytes with a shape."""
    data = b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)
    tensor = vectors_pb2.Tensor(data=data, dtype=vectors_pb2.D_TYPE_FLOAT32, rows=len(rows), cols=len(rows[0]))
    return vectors_pb2.TokenVectors(vectors=tensor)


channel = grpc.insecure_channel(sys.argv[1])
collections, documents, search = (
    stub(channel) for stub in (CollectionServiceStub, DocumentServiceStub, SearchServiceStub)
)
try:
    request = collections_pb2.CreateCollectionRequest(collection="vectors", encoder="none", dim=2)
    collections.CreateCollection(request, timeout=10)
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.ALREADY_EXISTS, error

north = documents_pb2.Document(id="north", tokens=tokens([0, 1], [0.1, 0.9]))
east = documents_pb2.Document(id="east", tokens=tokens([1, 0]))
north.payload["kind"] = east.payload["kind"] = "direction"
written = documents.UpsertDocuments(
    documents_pb2.UpsertDocumentsRequest(collection="vectors", documents=[north, east]), timeout=10
)

query = search_pb2.Query(encoded=search_pb2.EncodedQuery(tokens=tokens([0.2, 0.8], [0.9, 0.1])))
request = search_pb2.SearchRequest(collection="vectors", query=query, k=2, at_least_seq=written.seq)
for hit in search.Search(request, timeout=10).hits:
    print(hit.id, round(hit.score, 3), hit.payload["kind"])

why = search.Explain(search_pb2.ExplainRequest(collection="vectors", query=query, id="east", k=1), timeout=10)
print([round(match.contribution, 3) for match in why.explanation.matches], [s.name for s in why.explanation.stages])

try:
    request.options.nprobe = 0
    search.Search(request, timeout=10)
except grpc.RpcError as error:
    print(error.code().name, error.details())
    for detail in rpc_status.from_call(error).details:
        violations = error_details_pb2.BadRequest()
        if detail.Unpack(violations):
            print("field:", violations.field_violations[0].field)
