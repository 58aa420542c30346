"""What the kernels cost by counting: bytes they load, products, instructions; and what a GPU's limits make of it.

The counts follow from the tiles and from the compiled code, nothing is measured: a time on a GPU can only be worse. The
memory roofline (Williams et al., CACM 2009) is the rate at which the stored bytes of a token pass through memory once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .code_kernel import CodeTiles
from .codes import GROUP
from .compiled import Compiled
from .row_kernel import ROWS, Tiles

LINE = 128
"""Bytes that a multiprocessor's first-level cache, which is its shared memory too, moves in a cycle."""
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
    shared: int
    """Bytes that go through the multiprocessors' first-level caches and shared memory, one after the other there."""
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
        # Rows are copied to shared memory and read as a factor, with the query.
        shared=2 * own + turns * parts * tiles.query * padded * max(bytes, 2),
        products=2.0 * turns * tiles.tokens * tiles.query * padded * parts,
        turns=(turns, passes * len(lengths), busy * passes),
        flight=min(tiles.tokens, max(lengths)) * dim * bytes,
    )


def codes_work(
    lengths: Sequence[int], query: int, dim: int, bytes: int, tiles: CodeTiles, masked: bool = False
) -> Work:
    """A scan of codes of so many bytes a token over neighbouring documents of these lengths, by `documents_kernel`."""
    rows = 2 * GROUP * tiles.groups
    subs, passes, programs = 2 * bytes, -(-2 * query // rows), -(-len(lengths) // tiles.documents)
    blocks = sum(-(-n // 8) for n in lengths)
    turns = passes * sum(-(-n // (8 * tiles.blocks)) for n in lengths)
    # A word of many dimensions is asked for once for each eight of them; together they are one transaction.
    loads = {
        "words": turns * tiles.blocks * 4 * max(subs, dim // 8),
        "entries": 4 * 4 * passes * programs * dim,
        "query": programs * passes * rows * dim,
        "bounds": 8 * passes * (programs + len(lengths)),
        "allowed": passes * len(lengths) if masked else 0,
    }
    tokens, own = sum(lengths), turns * tiles.blocks * 4 * subs
    tile = tiles.blocks * 8
    # A warp group reads a tile of tokens once, fewer warps once each.
    readers = tiles.warps if tiles.warps < 4 else 1
    return Work(
        tokens=tokens,
        loads=loads,
        stored=tokens * bytes,
        memory=blocks * 4 * subs + (8 + 4 * passes) * len(lengths),
        cached=own + sum(loads.values()) - loads["words"],
        # Decoded tokens are put down in a byte a dimension and read as a factor, with the query.
        shared=own + turns * dim * ((1 + readers) * tile + rows),
        # Bytes are multiplied at twice the rate of 16 bits.
        products=1.0 * turns * tile * rows * dim,
        turns=(turns, passes * len(lengths)),
        # The next tile is under way while one is decoded.
        flight=min(2 * tile, max(lengths)) * bytes,
    )


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
        "shared memory": work.shared / (LINE * cycles),
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
