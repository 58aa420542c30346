"""`plait doctor`: what this machine can do, what clashes, what to install."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from ..terminal.console import bytes_text, out, print_json
from ..terminal.options import Json


def register(app: typer.Typer) -> None:
    """Puts the command on the command line."""
    app.command("doctor")(doctor)


def doctor(as_json: Json = False) -> None:
    """What this machine can do: instruction set, memory, GPUs, builds of torch and FAISS.
    Exits with 1 where parts clash."""
    from ...device.machine import examine, offers, problems

    facts = examine()
    found, missing = problems(facts), offers(facts)
    if as_json:
        print_json({**facts, "problems": [asdict(p) for p in found], "offers": missing})
    else:
        _show(facts)
        for problem in found:
            out.print(f"problem: {problem.what}\n         {problem.remedy}", markup=False)
        for what, command in missing.items():
            out.print(f"to have {what}: {command}", markup=False)
        if not found:
            out.print("no problems found")
    if found:
        raise typer.Exit(1)


def _show(facts: dict[str, Any]) -> None:
    simd, torch, faiss = facts["simd"], facts["torch"] or {}, facts["faiss"] or {}
    lines = {
        "system": facts["system"],
        "CPU": f"{facts['cpus']} CPUs, {bytes_text(facts['memory'])} of memory, {simd['level']}"
        + (f" (also {', '.join(n for n in simd['levels'] if n != simd['level'])})" if len(simd["levels"]) > 1 else ""),
        "GPU": "; ".join(
            f"cuda:{i} {gpu['name']}, {bytes_text(gpu['bytes'])}, sm_{gpu['architecture']}"
            for i, gpu in enumerate(torch.get("gpus", ()))
        )
        or "none that torch can use",
        "SQLite": f"{facts['sqlite']['version']}"
        + ("" if facts["sqlite"]["problem"] else ", checks every page that it reads"),
        "torch": f"CUDA {torch['cuda']}" if torch.get("cuda") else torch.get("error", "for the CPU"),
        "FAISS": faiss.get("error") or f"{'for GPUs' if faiss.get('built for GPUs') else 'for the CPU'}",
        "packages": ", ".join(f"{name} {version}" for name, version in facts["packages"].items()),
    }
    for name, text in lines.items():
        out.print(f"{name:>8}  {text}", markup=False)
