"""Python modules of the protocol, into a folder: `python proto/generate.py service/wire` (`make proto`).

They import each other relatively, so that they can lie in plait's own namespace: modules of the name `plait.v1` would
need a second package `plait`.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).parent


def generate(target: Path) -> None:
    """Replaces every generated module in the target."""
    sources = sorted(str(p.relative_to(HERE)) for p in HERE.glob("plait/v1/*.proto"))
    with tempfile.TemporaryDirectory() as made:
        outputs = [f"--{kind}_out={made}" for kind in ("python", "pyi", "grpc_python")]
        known = Path(protoc.__file__).parent / "_proto"
        if protoc.main(["protoc", f"-I{HERE}", f"-I{known}", *outputs, *sources]):
            raise SystemExit(1)
        for old in target.glob("*_pb2*"):
            old.unlink()
        for module in sorted(Path(made, "plait", "v1").iterdir()):
            text = re.sub(r"^from plait\.v1 import", "from . import", module.read_text(), flags=re.M)
            if module.name.endswith("_grpc.py") and "Stub" not in text:
                continue  # a file without services
            (target / module.name).write_text(text)


if __name__ == "__main__":
    shutil.rmtree(Path(sys.argv[1]) / "__pycache__", ignore_errors=True)
    generate(Path(sys.argv[1]))
