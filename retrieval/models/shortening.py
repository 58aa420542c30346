"""Long texts, cut before they are tokenised to what an encoder keeps of them: the rest
would cost time and change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_FIRST = 8
"""Characters for each token that is kept, at first; where they give too few tokens, four times as many."""
_GROWTH = 4
MARGIN = 1_000
"""Characters between the last token that is kept and the cut, so that the cut is in none of the words before it."""


def shortened(tokenizer: Any, texts: Sequence[str], length: int) -> list[str]:
    """The texts without what lies far behind their first `length` tokens. Those tokens are
    the same as of the whole texts.

    Args:
        tokenizer: a `tokenizers.Tokenizer`. How it truncates is changed where a text is long: set it afterwards.
    """
    return [_shortened(tokenizer, text, length) for text in texts]


def _shortened(tokenizer: Any, text: str, length: int) -> str:
    end = _FIRST * length + MARGIN
    while end < len(text):
        tokenizer.no_truncation()
        places = tokenizer.encode(text[:end], add_special_tokens=False).offsets
        if len(places) >= length and places[length - 1][1] + MARGIN <= end:
            return text[:end]
        end *= _GROWTH
    return text
