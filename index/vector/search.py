"""One global vector for each document, scored by dot product: COIL's and DupMAE's [CLS], or any that users store.

score(q, d) = q . g_d, a float64 sum over the stored float16 values, rounded to float32. A sealed segment has the
vectors in bytes too: a scan of those finds who may be among the best
(`index/codecs/byte_rows.py`), and only they are scored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidArgument
from ..hits import Hits, best
from ..kernels import terms as term_kernels
from ..kernels.vectors import among_best
from ..late import exact
from ..stopping import steps

if TYPE_CHECKING:
    from ..search.part import Part


def search(parts: list[Part], queries: np.ndarray, k: int) -> list[Hits]:
    """The k best documents of each query, (q, width) float32."""
    if k < 1:
        raise InvalidArgument(f"k is {k}; ask for at least 1 document")
    return [exact.merge([_best(part, query, k) for part in steps(parts)], k) for query in queries]


def products(vectors: np.ndarray | None, positions: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(n,) float64 products of the vectors at these positions with one query."""
    assert vectors is not None
    return term_kernels.half_products(vectors, positions, query)


def _best(part: Part, query: np.ndarray, k: int) -> Hits:
    if part.codes is not None:
        positions = among_best(*part.codes.estimate(query), k, open=part.allowed)
    else:
        positions = np.arange(len(part.segment.documents)) if part.allowed is None else np.flatnonzero(part.allowed)
    scores = products(part.segment.tokens.globals_, positions, query)
    return best(part.segment.documents[positions], scores.astype(np.float32), k)
