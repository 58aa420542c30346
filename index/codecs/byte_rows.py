"""Vectors in a byte for each dimension: products that come with a bound on their error, and who may be among the best.

A row v stands for s c, with whole numbers c of -127 to 127, so |v_d - s c_d| <= s / 2; a query q for t b, with |b| <=
L, so |q_d - t b_d| <= t / 2. Their product is wrong by at most s (|q|_1 + 127 dim t) / 2. Whoever is among the k best
by true products then has an upper bound that reaches the k-th greatest lower bound; only those need be scored from
their float16 rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVELS = 127


def scale_of(greatest: np.ndarray) -> np.ndarray:
    """float32 scales for rows whose entries are at most so great."""
    return greatest.astype(np.float32) / np.float32(LEVELS)


def to_bytes(rows: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """(n, dim) int8 of rows (n, dim) float32 with one scale each, (n,) float32."""
    steps = rows / np.where(scales > 0, scales, 1)[:, None]
    return np.clip(np.rint(steps), -LEVELS, LEVELS).astype(np.int8)


@dataclass(frozen=True, eq=False)
class ByteQuery:
    """Query vectors in two bytes for each dimension, fewer where sums of products might leave 32 bits."""

    codes: np.ndarray
    """(q, dim) int16."""
    steps: np.ndarray
    """(q,) float32: row i stands for steps[i] * codes[i]."""
    wrong: np.ndarray
    """(q,) float64: a product with a row of scale s is wrong by at most s times this,
    rounding of float32 sums included."""


def byte_query(vectors: np.ndarray) -> ByteQuery:
    """From (q, dim) float32."""
    dim = vectors.shape[1]
    most = min(32767, (2**31 - 1) // (LEVELS * max(1, dim)))
    greatest = np.abs(vectors).max(axis=1, initial=0)
    steps = (greatest / np.float32(most)).astype(np.float32)
    codes = np.clip(np.rint(vectors / np.where(steps > 0, steps, 1)[:, None]), -most, most).astype(np.int16)
    sums = np.abs(vectors.astype(np.float64)).sum(axis=1)
    wrong = sums * (0.5 + 1e-4) + LEVELS * dim * steps * 0.501 + 1e-5 * LEVELS * len(vectors) * sums
    return ByteQuery(codes, steps, wrong)
