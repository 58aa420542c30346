"""Exact scores of candidates."""

from __future__ import annotations

import numpy as np

from ..codecs.codec import Codec, score
from ..errors import InvalidArgument
from ..hits import Hits, best
from ..kernels import rows as row_kernels
from ..search.tally import tallied


def rerank(
    codec: Codec,
    records: np.ndarray,
    offsets: np.ndarray,
    positions: np.ndarray,
    query: np.ndarray,
    k: int,
    *,
    threads: int = 1,
) -> Hits:
    """The k best of the documents at these positions, by MaxSim with one query (q, dim) float32 over their records.

    Only documents whose estimate, where there is one, leaves them a chance are scored in full. A document without
    tokens scores minus infinity.
    """
    if threads < 1:
        raise InvalidArgument(f"threads is {threads}; it must be at least 1")
    with tallied(len(positions)):
        if codec.estimates and 0 < k < len(positions) and len(records):
            rows = codec.rows(records)
            cheap, errors = row_kernels.row_estimates(rows, offsets, positions, codec.turned(query), threads=threads)
            positions = positions[cheap + errors >= np.partition(cheap - errors, -k)[-k]]
        return best(positions, score(codec, records, offsets, positions, query, threads), k)
