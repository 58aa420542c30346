"""Which codec a precision names."""

from __future__ import annotations

from ..errors import InvalidArgument
from .codec import DEFAULT, Codec
from .half import Half
from .int8 import Bytes
from .product import SIZES, Keep, Product
from .residual import BITS, Residual

PRECISIONS = (DEFAULT, "int8", *(f"pq:{size}" for size in SIZES), *(f"residual:{bits}" for bits in BITS))


def codec(precision: str, dim: int, keep: Keep | None = None) -> Codec:
    """The codec of a precision; `keep`: where what it learns is kept. InvalidArgument: no such precision, or not with
    this dim."""
    if precision not in PRECISIONS:
        raise InvalidArgument(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    if precision.startswith("pq:"):
        return Product(dim, int(precision.removeprefix("pq:")), keep or Keep())
    if precision.startswith("residual:"):
        return Residual(dim, int(precision.removeprefix("residual:")), keep or Keep())
    return Half(dim) if precision == DEFAULT else Bytes(dim)


LEARNING = Product, Residual
"""Those that learn from a collection's vectors."""
