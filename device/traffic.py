"""What the kernels cost by counting: bytes they load, products, instructions; and what a GPU's limits make of it.

The counts follow from the tiles and from the compiled code, nothing is measured: a time on a GPU can only be worse. The
memory roofline (Williams et al., CACM 2009) is the rate at which the stored bytes of a token pass through memory once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .code_kernel import CODES, CodeTiles
from .compiled import Compiled
from .row_kernel import ROWS, Tiles

LINE = 128
"""Bytes that a multiprocessor's first-level cache delivers in a cycle."""
ISSUED = 0.6
"""The share of issue slots that a kernel is expected to fill: waits and dependencies leave the rest empty."""
LATENCY = 1e-6
"""Seconds from asking memory for a tile to being done with it."""


@dataclass(frozen=True)
class Machine:
    """Data sheet figures; second-level bandwidth as others measured it."""

    name: str
    architecture: int
    multiprocessors: int
    clock: float
    """Hz, the boost clock of the peak rates."""
    memory: float
    """Bytes a second."""
    cache: float
    """Bytes a second from the second-level cache."""
    products: float
    """16-bit operations a second in the tensor cores, without sparsity."""
    shared: int
    """Bytes of shared memory in a multiprocessor."""


H100 = Machine("H100 SXM", 90, 132, 1.83e9, 3.35e12, 5.5e12, 989e12, 228 << 10)
A100 = Machine("A100 80GB SXM", 80, 108, 1.41e9, 2.04e12, 4.0e12, 312e12, 164 << 10)


@dataclass(frozen=True)
class Work:
    """What some documents cost a kernel."""

    tokens: int
    loads: dict[str, int]
    """Bytes loaded through each argument."""
    stored: int
    """Bytes of stored tokens, each once: the least that any kernel reads."""
    memory: int
    """Bytes that memory has to deliver."""
    cached: int
    """Bytes that the second-level cache has to deliver."""
    looked_up: float
    """Cycles of one multiprocessor's first-level cache for table look-ups."""
    products: float
    """Operations of the tensor cores, padding included."""
    turns: tuple[int, ...]
    """How often each loop of `Compiled.loops` turns."""
    flight: int
    """Bytes that a program has under way."""


def rows_work(
    lengths: Sequence[int], query: int, dim: int, bytes: int, parts: int = 1, scaled: bool = False, tiles: Tiles = ROWS
) -> Work:
    """One query with candidates of these lengths, rows of so many bytes a value, by `rows_kernel`."""
    passes, programs = -(-query // tiles.query), len(lengths) // tiles.documents + 1
    tokens, turns = sum(lengths), passes * sum(-(-n // tiles.tokens) for n in lengths)
    busy = -(-len(lengths) // tiles.documents)
    row = dim * bytes + (4 if scaled else 0)
    loads = {
        "rows": passes * tokens * dim * bytes,
        "scales": passes * tokens * 4 if scaled else 0,
        # Programs without a candidate read the query too, before they find out.
        "query": programs * query * parts * dim * (4 if bytes == 4 else 2),
        "candidates": 8 * passes * len(lengths),
        "offsets": 16 * passes * len(lengths),
    }
    own = loads["rows"] + loads["scales"]
    padded = max(16, 1 << (dim - 1).bit_length())
    return Work(
        tokens=tokens,
        loads=loads,
        stored=tokens * row,
        # A score is written for each document; the query stays in the second-level cache.
        memory=own + loads["candidates"] + loads["offsets"] + 4 * len(lengths),
        cached=sum(loads.values()),
        looked_up=0,
        products=2.0 * turns * tiles.tokens * tiles.query * padded * parts,
        turns=(turns, passes * len(lengths), busy * passes),
        flight=min(tiles.tokens, max(lengths)) * dim * bytes,
    )


def codes_work(lengths: Sequence[int], query: int, bytes: int, tiles: CodeTiles = CODES) -> Work:
    """A scan of codes of so many bytes a token over neighbouring documents of these lengths, by `codes_kernel`."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    passes = -(-query // tiles.query)
    blocks = turns = 0
    for first in range(0, len(lengths), tiles.documents):
        start, end = offsets[first] // 32, offsets[min(first + tiles.documents, len(lengths))]
        own = max(0, -(-end // 32) - start)
        blocks, turns = blocks + own, turns + -(-own * 32 // tiles.tokens)
    programs = -(-len(lengths) // tiles.documents)
    scored = turns * tiles.tokens
    loads = {
        "codes": passes * blocks * 32 * bytes,
        "table": passes * scored * 2 * bytes * tiles.query,
        "offsets": passes * 8 * (3 * programs + len(lengths)),
    }
    return Work(
        tokens=offsets[-1],
        loads=loads,
        stored=offsets[-1] * bytes,
        memory=loads["codes"] + 8 * len(lengths) + 4 * passes * len(lengths),
        cached=loads["codes"] + loads["offsets"],
        looked_up=loads["table"] / LINE * conflicts(tiles.query),
        products=0,
        turns=(passes * len(lengths), passes * turns),
        flight=tiles.tokens * bytes,
    )


def conflicts(row: int) -> float:
    """Cycles for a line's worth of look-ups in tables of 16 rows of `row` bytes, where codes are evenly spread.

    A cycle serves every bank once, and a bank serves one address: of the rows that lie in the same banks, one at a time.
    """
    together = max(1, LINE // row)
    codes = np.indices((16,) * together).reshape(together, -1)
    banks = np.zeros((together, codes.shape[1]), int)
    for code in range(16):
        banks[code % together] += (codes == code).any(axis=0)
    return float(banks.max(axis=0).mean())


def rates(work: Work, made: Compiled, machine: Machine, warps: int) -> dict[str, float]:
    """Tokens a second that each of the machine's limits allows; the least is what to hope for."""
    threads = warps * 32
    resident = min(
        machine.shared // max(made.shared, 1), 65536 // (-(-made.registers // 8) * 8 * threads), 2048 // threads
    )
    instructions = warps * sum(turns * size for turns, size in zip(work.turns, made.loops, strict=False))
    cycles = machine.multiprocessors * machine.clock
    seconds = {
        "memory": work.memory / machine.memory,
        "second-level cache": work.cached / machine.cache,
        "first-level cache": work.looked_up / cycles,
        "tensor cores": work.products / machine.products,
        "instructions": instructions / (4 * ISSUED * cycles),
        "latency": work.memory * LATENCY / (work.flight * resident * machine.multiprocessors),
    }
    return {name: work.tokens / time for name, time in seconds.items() if time}


def roofline(work: Work, machine: Machine) -> float:
    """Tokens a second if stored bytes passed through memory once and nothing else took time."""
    return machine.memory / (work.stored / work.tokens)


def share(work: Work, made: Compiled, machine: Machine, warps: int) -> tuple[float, str]:
    """The share of the memory roofline to hope for, and the limit that decides it."""
    found = rates(work, made, machine, warps)
    limit = min(found, key=lambda name: found[name])
    return found[limit] / roofline(work, machine), limit
