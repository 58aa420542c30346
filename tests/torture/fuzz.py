"""Coverage-guided fuzzing of what reads files, text and messages: `make fuzz-files SECONDS=3600`.

Every target (targets.py) runs in a process of its own, because a crash ends it. New inputs go to build/fuzz/.
`--keep` copies a few small ones to the corpus, which tests read. Needs atheris (`pip install atheris`).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FunctionType

CORPUS = Path(__file__).with_name("corpus")
FOUND = Path(__file__).parents[2] / "build" / "fuzz"
_MOST, _LARGEST = 18, 2048
"""Inputs of each target that the corpus keeps, and bytes of each."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m torture.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3600, help="for all targets together")
    parser.add_argument("--target", action="append", help="only this one; repeatable")
    parser.add_argument("--keep", action="store_true", help="take new inputs over into the corpus")
    parser.add_argument("--run", metavar="TARGET", help=argparse.SUPPRESS)
    options, more = parser.parse_known_args()
    if options.run:
        _fuzz(options.run, more)
        return 0
    from .targets import TARGETS

    bad = 0
    names = options.target or [*TARGETS]
    for name in names:
        new, crashes = FOUND / name, FOUND / f"{name}-findings"
        new.mkdir(parents=True, exist_ok=True)
        crashes.mkdir(exist_ok=True)
        known = [str(folder) for folder in (new, CORPUS / name) if folder.is_dir()]
        limits = [f"-max_total_time={max(1, options.seconds // len(names))}", "-max_len=4096", "-rss_limit_mb=4096"]
        limits += ["-timeout=20", "-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={crashes}/"]
        done = subprocess.run([sys.executable, "-m", "torture.fuzz", "--run", name, *limits, *known])
        print(f"{name}: {'a finding in ' + str(crashes) if done.returncode else 'nothing'}", flush=True)
        bad += bool(done.returncode)
        if options.keep:
            _keep(name, new)
    return bad


def _fuzz(name: str, arguments: list[str]) -> None:
    try:
        atheris = import_module("atheris")
    except ImportError:
        raise SystemExit("fuzzing needs atheris: pip install atheris") from None
    from . import targets

    for function in _functions():
        atheris.instrument_func(function)
    run = targets.TARGETS[name]

    def one(data: bytes) -> None:
        with suppress(*targets.ENDS_WELL):
            run(data)

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def _functions() -> list[FunctionType]:
    """All functions of plait that are loaded. The loader of an editable install hides them from the hook of atheris."""
    found: dict[int, FunctionType] = {}
    for module in [m for name, m in sys.modules.items() if name.split(".")[0] == "plait"]:
        classes = [c for c in vars(module).values() if isinstance(c, type)]
        for value in [v for space in (module, *classes) for v in vars(space).values()]:
            inner = getattr(value, "__func__", getattr(value, "fget", value))
            inner = getattr(inner, "__wrapped__", inner)
            if isinstance(inner, FunctionType) and inner.__module__.split(".")[0] == "plait":
                found[id(inner)] = inner
    return [*found.values()]


def _keep(name: str, new: Path) -> None:
    """Copies new inputs of all sizes until the corpus is full. Each reached code that those before it had not."""
    kept = CORPUS / name
    kept.mkdir(parents=True, exist_ok=True)
    room = _MOST - len([*kept.iterdir()])
    found = sorted(
        (file for file in new.iterdir() if file.stat().st_size <= _LARGEST), key=lambda file: file.stat().st_size
    )
    for file in found[:: max(1, len(found) // max(1, room))][: max(0, room)]:
        shutil.copyfile(file, kept / file.name[:12])


if __name__ == "__main__":
    sys.exit(main())
