"""Text to words, before stop words go and stems are taken: normalised, in lower case, cut as its script asks.

Scripts that write no spaces between words (Han, Kana, Thai, Lao, Khmer, Myanmar), and Hangul, whose words end in
particles, give overlapping pairs of characters, a character that stands alone itself: as
Lucene's CJKAnalyzer cuts them.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import lru_cache
from itertools import pairwise

_PAIRED = (
    "\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # Kana
    "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3"  # Hangul
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6\u0edc-\u0edf"  # Thai, Lao
    "\u1000-\u102a\u103f\u1050-\u1055\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u108e\uaa60-\uaa6f\uaa71-\uaa76"
    "\u1780-\u17b3\u17d7\u17dc"  # Myanmar, Khmer
)
_WORD = re.compile(r"\w\w+")
# Soft hyphens, joiners, direction marks, byte order marks and variation selectors are no part of a word's spelling, nor
# are the vowel signs and tatweel of Hebrew and Arabic script, which most texts leave out.
_IGNORED = re.compile(
    "[\u00ad\u034f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u061c\u0640\u064b-\u0652\u0670\u200d-\u200f\u202a-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff]"
)
_NON_JOINER = "\u200c"
_SPACE = "\u200b"
"""Of no width; it parts words."""


def words_of(text: str, language: str) -> list[str]:
    """Words of two or more characters, with the combining signs that belong to them, and pairs of characters."""
    if text.isascii() and language != "turkish":
        return _WORD.findall(text.lower())
    text = lowered(spelled(text), language)
    if not _unspaced().search(text):
        return _WORD.findall(text)
    words: list[str] = []
    for run, word in _cut().findall(text):
        if word:
            words += [word] if len(word) > 1 else []
        else:
            words += _pairs(run)
    return words


def spelled(text: str) -> str:
    """One spelling for what looks or means the same: Unicode's NFKC, without signs that only help to set the text.

    U+200C, which keeps letters from joining, parts words in Arabic script, as in Persian; elsewhere it is left out.
    """
    text = _IGNORED.sub("", unicodedata.normalize("NFKC", text)).replace(_SPACE, " ")
    if _NON_JOINER in text:
        text = re.sub("(?<=[\u0600-\u06ff])\u200c(?=[\u0600-\u06ff])", " ", text).replace(_NON_JOINER, "")
    # What stood between a letter and its sign may have kept the two apart.
    return unicodedata.normalize("NFKC", text)


def lowered(text: str, language: str) -> str:
    """Lower case as the language has it: in Turkish I is the capital of ı and İ that of i."""
    if language == "turkish":
        return text.replace("İ", "i").replace("I", "ı").lower()
    return text.replace("İ", "i").lower()


def _pairs(run: str) -> list[str]:
    units = _unit().findall(run)
    return [a + b for a, b in pairwise(units)] or units


@lru_cache(maxsize=1)
def _marks() -> str:
    """The combining signs of all scripts, as ranges of a class of characters."""
    marks = [i for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)).startswith("M")]
    ranges: list[list[int]] = []
    for mark in marks:
        if ranges and mark == ranges[-1][1] + 1:
            ranges[-1][1] = mark
        else:
            ranges.append([mark, mark])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


@lru_cache(maxsize=1)
def _unspaced() -> re.Pattern[str]:
    """What the plain pattern of words would cut wrongly."""
    return re.compile(f"[{_PAIRED}{_marks()}]")


@lru_cache(maxsize=1)
def _unit() -> re.Pattern[str]:
    """A character of a script of pairs, with its signs."""
    return re.compile(f"[{_PAIRED}][{_marks()}]*")


@lru_cache(maxsize=1)
def _cut() -> re.Pattern[str]:
    """Runs of such characters, and words of other scripts with their signs."""
    signs = _marks()
    return re.compile(rf"((?:[{_PAIRED}][{signs}]*)+)|((?:(?![{_PAIRED}])\w[{signs}]*)+)")
