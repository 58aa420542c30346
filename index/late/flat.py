"""The flat plan: scan the 4-bit codes of every token, then rerank the best documents with their real rows.

The scan goes in two stages. Query tokens differ in how much they tell documents apart: every document has a good match
for `the`, few have one for a rare word. So the rarest third of the query is scored on all documents, and the rest only
on those that lead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..codecs import pq4
from ..codecs.codec import Codec
from ..errors import InvalidArgument
from ..hits import Hits, best
from ..kernels import rows as row_kernels
from ..kernels import vectors as kernels
from ..tokens import ragged_rows
from .rerank import rerank

_PROBES = 32
"""Documents, and tokens of each, on which the usual match of a query token is measured."""


@dataclass(frozen=True, eq=False)
class Flat:
    """Everything one segment needs for the plan. Positions number its documents from 0."""

    codebook: pq4.Codebook
    codes: np.ndarray
    """(blocks, bytes, 32) uint8 from `pq4.encode`."""
    offsets: np.ndarray
    """(documents + 1,) int64."""
    codec: Codec
    records: np.ndarray
    """(tokens, width), as the codec has encoded them."""

    def search(
        self,
        query: np.ndarray,
        k: int,
        candidates: int = 100,
        *,
        leaders: int | None = None,
        allowed: np.ndarray | None = None,
        threads: int = 1,
    ) -> Hits:
        """The k best of one query (q, dim) float32, with the scores of their rows; positions as document numbers.

        Args:
            candidates: documents to rerank, at least k. More find more of the exact top k and cost more: 16-byte codes
                of a real collection had 0.995 of the exact top 10 within their best 30.
            leaders: documents that the whole query is scanned on, at least `candidates`. More lose less and cost more.
                None: a sixteenth of all, at least 10 for each candidate; as many as there are: one stage.
            allowed: (documents,) bool; the others are not read.
        """
        leaders = max(10 * candidates, (len(self.offsets) - 1) // 16) if leaders is None else leaders
        if not 1 <= k <= candidates <= leaders:
            raise InvalidArgument(f"k is {k}, candidates {candidates}, leaders {leaders}; they must rise from 1")
        scores = self._scan(query, leaders, allowed, threads)
        scored = np.flatnonzero(scores > -np.inf)
        chosen = best(scored, scores[scored], candidates).docs
        # By position: reads go through the rows in one direction.
        chosen.sort()
        return rerank(self.codec, self.records, self.offsets, chosen, query, k, threads=threads)

    def _scan(self, query: np.ndarray, leaders: int, allowed: np.ndarray | None, threads: int) -> np.ndarray:
        """Approximate scores of at least the `leaders` best documents by the rarest third of the query."""
        table = pq4.table(self.codebook, query)
        if leaders >= len(self.offsets) - 1 or len(query) < 3:
            return pq4.scan(self.codes, self.offsets, table, allowed=allowed, threads=threads)
        order, first = np.argsort(self._usual(query), kind="stable"), -(-len(query) // 3)
        scores = pq4.scan(self.codes, self.offsets, table.take(order[:first]), allowed=allowed, threads=threads)
        lead = scores >= np.partition(scores, -leaders)[-leaders]
        lead &= scores > -np.inf
        return scores + pq4.scan(self.codes, self.offsets, table.take(order[first:]), allowed=lead, threads=threads)

    def _usual(self, query: np.ndarray) -> np.ndarray:
        """(q,) float32: the best similarity that each query token finds in an average document."""
        columns, offsets = self._probes
        matches = row_kernels.multiply(query, columns, int(offsets[-1]))
        return kernels.segmented_max(matches.T, offsets).mean(axis=0)

    @cached_property
    def _probes(self) -> tuple[np.ndarray, np.ndarray]:
        """Decoded vectors, as columns, and offsets of the first tokens of documents
        that lie spread over the segment."""
        full = np.flatnonzero(np.diff(self.offsets))
        spread = full[np.linspace(0, len(full) - 1, min(_PROBES, len(full))).astype(int)]
        rows, offsets = ragged_rows(self.offsets, spread)
        inside = np.arange(len(rows)) - np.repeat(offsets[:-1], np.diff(offsets)) < _PROBES
        rows, offsets = rows[inside], np.concatenate([[0], np.cumsum(inside)])[offsets]
        blocks, at = np.unique(rows // pq4.BLOCK, return_inverse=True)
        decoded = pq4.decode(self.codebook, self.codes[blocks], len(blocks) * pq4.BLOCK)
        return row_kernels.panels(decoded[at * pq4.BLOCK + rows % pq4.BLOCK].T), offsets
