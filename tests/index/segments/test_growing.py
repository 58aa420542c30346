"""Fresh documents packed into the catalog come back as they were."""

import numpy as np
from oracle import some_tokens
from plait.index.codecs.half import Half
from plait.index.representations import Representations
from plait.index.segments.fresh import pack, unpack
from plait.index.tokens import Tokens, from_matrices


def test_pack_round_trip() -> None:
    plain = some_tokens(1, 4)
    plain = Tokens(plain.vectors, plain.offsets)
    n = len(plain.vectors)
    full = Tokens(
        plain.vectors,
        plain.offsets,
        np.arange(n, dtype=np.uint32),
        np.arange(4 * n, dtype=np.uint32).reshape(-1, 2),
        np.arange(0, 2 * n + 1, 2, dtype=np.int64),
        roles=np.arange(n, dtype=np.uint8),
    )
    for tokens in (plain, full, some_tokens(1, 2), from_matrices([np.zeros((0, 5), np.float16)])):
        half = Half(tokens.dim)
        again = unpack(pack(Representations(tokens), half), half).tokens
        for column in ("vectors", "offsets", "ids", "spans", "span_offsets", "roles"):
            wanted = getattr(tokens, column)
            if wanted is None:
                assert getattr(again, column) is None
            else:
                np.testing.assert_array_equal(getattr(again, column), wanted)
