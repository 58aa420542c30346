"""Coverage-guided fuzzing of what reads files, text and messages: `make fuzz-files SECONDS=3600`.

Every target (targets.py) has its time, in a process of its own, since a crash ends it. New inputs go to build/fuzz/; `--keep` takes
a few small ones, chosen by coverage, over into the corpus, which tests read. Needs atheris (`pip install atheris`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
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
        import atheris
    except ImportError:
        raise SystemExit("fuzzing needs atheris: pip install atheris") from None
    from . import targets

    for function in _functions():
        atheris.instrument_func(function)
    run = targets.TARGETS[name]

    def one(data: bytes) -> None:
        try:
            run(data)
        except targets.ENDS_WELL:
            pass

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def _functions() -> list[FunctionType]:
    """All of plait's that are loaded. An editable install has a loader of its own, which hides them from atheris' hook."""
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
    """Of all inputs the fewest that reach as much, the smallest first, as many as the corpus may hold."""
    kept, least = CORPUS / name, FOUND / f"{name}-least"
    shutil.rmtree(least, ignore_errors=True)
    least.mkdir()
    kept.mkdir(parents=True, exist_ok=True)
    merge = [sys.executable, "-m", "torture.fuzz", "--run", name, "-merge=1", str(least), str(kept), str(new)]
    subprocess.run(merge, check=True, stderr=subprocess.DEVNULL, env={**os.environ})
    inputs = [file for file in least.iterdir() if file.stat().st_size <= _LARGEST]
    for old in kept.iterdir():
        old.unlink()
    for number, file in enumerate(sorted(inputs, key=lambda file: file.stat().st_size)[-_MOST:]):
        shutil.copyfile(file, kept / f"{number:02d}")


if __name__ == "__main__":
    sys.exit(main())
