"""MaxSim on a GPU beside the memory roofline, plain torch and other kernels: `make bench-gpu`.

32 x 128 queries, documents of 120 tokens, every document a candidate. Times are the median of repeated runs by CUDA
events, all sides interleaved in one run. `--model` needs no GPU: it prints what counting says (device/traffic.py).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

QUERY, DIM, LENGTH = 32, 128, 120
REPEATS = 30


def model() -> list[dict[str, Any]]:
    """The share of the roofline to hope for, by kernel and machine, and the limit that
    decides it. `long`: 64 query rows."""
    from plait.device.code_kernel import tiles_for
    from plait.device.compiled import compile_for
    from plait.device.row_kernel import ROWS
    from plait.device.traffic import A100, H100, codes_work, rates, roofline, rows_work, share

    documents, rows = [LENGTH] * 1600, []
    for machine in (H100, A100):
        tiles, long = tiles_for(machine.architecture), tiles_for(machine.architecture, 2)
        work = {
            "float16 x1": (rows_work(documents, QUERY, DIM, 2), ROWS.warps),
            "float16 x2": (rows_work(documents, QUERY, DIM, 2, 2), ROWS.warps),
            "bfloat16 x1": (rows_work(documents, QUERY, DIM, 2), ROWS.warps),
            "int8 x2": (rows_work(documents, QUERY, DIM, 1, 2, scaled=True), ROWS.warps),
            "codes 16": (codes_work(documents, QUERY, DIM, 16, tiles), tiles.warps),
            "codes 64": (codes_work(documents, QUERY, DIM, 64, tiles), tiles.warps),
            "codes 16 long": (codes_work(documents, 2 * QUERY, DIM, 16, long), long.warps),
            "codes 64 long": (codes_work(documents, 2 * QUERY, DIM, 64, long), long.warps),
        }
        for name, (one, warps) in work.items():
            made = compile_for(name, machine.architecture)
            part, limit = share(one, made, machine, warps)
            rows.append(
                {
                    "kernel": name,
                    "machine": machine.name,
                    "bytes_per_token": round(one.memory / one.tokens, 1),
                    "roofline_gtokens_s": round(roofline(one, machine) / 1e9, 1),
                    "model_gtokens_s": round(min(rates(one, made, machine, warps).values()) / 1e9, 1),
                    "share": round(part, 2),
                    "limit": limit,
                    "registers": made.registers,
                    "shared": made.shared,
                }
            )
    return rows


def measure(documents: int) -> list[dict[str, Any]]:
    """Tokens a second of every kernel on cuda:0."""
    import torch
    from plait.device.codes import ask
    from plait.device.flat import document_scores
    from plait.device.maxsim import maxsim

    torch.manual_seed(0)
    kind = {"device": "cuda:0", "dtype": torch.float16}
    tokens = documents * LENGTH
    rows = torch.nn.functional.normalize(torch.randn(tokens, DIM, **kind), dim=1)
    query = torch.nn.functional.normalize(torch.randn(QUERY, DIM, **kind), dim=1)
    offsets = torch.arange(0, tokens + 1, LENGTH, device="cuda:0")
    every = torch.arange(documents, device="cuda:0")
    scales = rows.abs().amax(1).float() / 127
    bytes_ = (rows / scales[:, None]).round().to(torch.int8)
    blocks = -(-LENGTH // 8) * documents
    bounds = torch.arange(0, blocks + 1, blocks // documents, device="cuda:0")
    scanned = {}
    for size in (16, 64):
        book, asked = random_book(size), torch.randn(QUERY, DIM, device="cuda:0")
        words = torch.randint(-(1 << 31), 1 << 31, (blocks, 2 * size), device="cuda:0").int()
        scanned[size] = book, ask(book, asked), words, bounds
    sides: dict[str, tuple[Callable[[], Any], float]] = {
        "plait float16": (lambda: maxsim(query, rows, offsets, every), 2 * DIM),
        "plait float16, float32 query": (lambda: maxsim(query.float(), rows, offsets, every), 2 * DIM),
        "plait int8": (lambda: maxsim(query, bytes_, offsets, every, scales=scales), DIM + 4),
        "plait codes 16": (lambda: document_scores(*scanned[16]), 16),
        "plait codes 64": (lambda: document_scores(*scanned[64]), 64),
        "torch einsum": (
            lambda: torch.einsum("qd,ntd->nqt", query, rows.view(documents, LENGTH, DIM)).amax(2).float().sum(1),
            2 * DIM,
        ),
        **{name: (run, 2 * DIM) for name, run in peers(query, rows, offsets, documents).items()},
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(REPEATS + 3):
        for name, (run, _) in sides.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            if turn >= 3:
                times[name].append(start.elapsed_time(end) / 1e3)
    copied = copy_rate()
    found = []
    for name, (_, size) in sides.items():
        rate = tokens / statistics.median(times[name])
        found.append(
            {
                "kernel": name,
                "device": torch.cuda.get_device_name(0),
                "ms": round(1e3 * statistics.median(times[name]), 4),
                "gtokens_s": round(rate / 1e9, 2),
                "share_of_copy_rate": round(rate * size / copied, 3),
            }
        )
    return found


def random_book(size: int) -> Any:
    """A codebook of `size` bytes on the device."""
    import numpy as np
    import torch
    from plait.device.codes import book
    from plait.index.codecs.pq4 import Codebook

    rng, width = np.random.default_rng(0), DIM // (2 * size)
    centroids = rng.standard_normal((2 * size, 16, width)).astype(np.float32)
    return book(Codebook(np.eye(DIM, dtype=np.float32), centroids), torch.device("cuda:0"))


def copy_rate() -> float:
    """Bytes a second that memory gives and takes in a large copy: the roofline that this device has in fact."""
    import torch

    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda:0")
    target, times = torch.empty_like(source), []
    for _ in range(10):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return 2 * source.numel() / statistics.median(times)


def peers(query: Any, rows: Any, offsets: Any, documents: int) -> dict[str, Callable[[], Any]]:
    """Other kernels, where they are installed: flash-maxsim and late-interaction-kernels, on their padded layout."""
    found: dict[str, Callable[[], Any]] = {}
    padded = rows.view(documents, LENGTH, DIM)
    if find_spec("flash_maxsim"):
        from flash_maxsim import flash_maxsim  # pyright: ignore[reportMissingImports]

        found["flash-maxsim"] = lambda: flash_maxsim(query, padded)
    if find_spec("late_interaction_kernels"):
        from late_interaction_kernels import maxsim as other  # pyright: ignore[reportMissingImports]

        found["late-interaction-kernels"] = lambda: other(query[None], padded)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="store_true", help="what counting says, without a GPU")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if not asked.model:
        import torch

        if not torch.cuda.is_available():
            print(f"skipped: torch {torch.__version__} finds no CUDA device (--model needs none)")
            return
    for row in model() if asked.model else measure(asked.documents):
        print(json.dumps(row) if asked.json else "  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
