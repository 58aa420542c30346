"""scipy's product of a query and the transposed documents: the baseline."""

from typing import Any

import numpy as np
from sparse_engine import Engine, clocked


def engines(documents: Any, queries: Any, k: int) -> list[Engine]:
    by_key, seconds, grown = clocked(documents.T.tocsr)
    asked = [queries[[q]] for q in range(queries.shape[0])]

    def search(q: int) -> np.ndarray:
        scores = (asked[q] @ by_key).toarray().ravel()
        best = np.argpartition(scores, len(scores) - k)[-k:]
        return best[np.argsort(-scores[best])]

    return [Engine("scipy", "csr product", search, seconds, 8.0, 0.0, grown)]
