"""Recipes: the reducers a collection applies to its documents, in order, written as short strings.

    pool:2  pool:kmeans:3  pool:sequential:2   cluster tokens, keep one mean per 2 (3, 2) of them
    single                                     one vector per document
    first:50       first:70%                   keep the first 50 tokens, 70 percent of them
    idf:50         idf:50%                     keep the rarest
    attention:50   attention:50%               keep those that receive the most attention
    skip:punctuation   skip:stopwords          drop these
    keep:cls,word                              keep these roles only (names of `Role`, in lower case)

Counts are whole numbers from 1 up, percentages whole numbers from 1 to 100, rounded up per document. Order matters:
`first:50, pool:2` keeps about 25 vectors of the opening, `pool:2, first:50` 50 of about the first 100.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from reprlib import repr as brief
from typing import cast, get_args

import numpy as np

from ...index.errors import FailedPrecondition, InvalidArgument
from ...index.tokens import Role, Tokens
from . import pooling, pruning

MAX_STEPS = 16
"""Steps of a recipe."""
FORMS = (
    "pool:N",
    "pool:kmeans:N",
    "pool:sequential:N",
    "single",
    "first:N",
    "first:N%",
    "idf:N",
    "idf:N%",
    "attention:N",
    "attention:N%",
    "skip:punctuation",
    "skip:stopwords",
    f"keep:ROLE,... ({', '.join(role.name.lower() for role in Role)})",
)
"""What a step may look like, N a whole number from 1 up, N% at most 100%."""

_NEEDS = {
    "pool": "pool needs a factor: pool:2, or a way and a factor: pool:kmeans:2",
    "single": "single takes nothing: write single",
    "first": "first needs a count or a share: first:50, first:70%",
    "idf": "idf needs a count or a share: idf:50, idf:70%",
    "attention": "attention needs a count or a share: attention:50, attention:50%",
    "skip": "skip takes punctuation or stopwords: skip:punctuation, skip:stopwords",
    "keep": f"keep needs roles: keep:cls,word, of {', '.join(role.name.lower() for role in Role)}",
}
"""What each reducer is to look like, said to whoever wrote it otherwise."""

_FUNCTION_WORDS = """
a about above after again against all also am an and any are as at be because been before being below between both but
by can could did do does doing down during each few for from further had has have having he her here hers herself him
himself his how i if in into is it its itself just me might more most must my myself no nor not now of off on once
only or other our ours out over own same shall she should so some such than that the their theirs them themselves then
there these they this those through to too under until up us very was we were what when where which while who whom
whose why will with would you your yours
"""
STOPWORDS = tuple(_FUNCTION_WORDS.split())
"""English function words, in lower case."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What some steps know of the collection, counted over a sample of its documents."""

    documents: int
    document_frequency: np.ndarray
    """(vocabulary,) int64: sampled documents that hold each id."""
    stop_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    """(s,) uint32 ids of stop words."""

    @property
    def idf(self) -> np.ndarray:
        """(vocabulary,) float64: ln((1 + documents) / (1 + document frequency)); 0 for an id in every document."""
        return np.log((1 + self.documents) / (1 + self.document_frequency))


Apply = Callable[[Tokens, Statistics | None], Tokens]


@dataclass(frozen=True)
class Step:
    """One reducer. Steps of equal `spec` are equal."""

    spec: str
    """Canonical string: `parse` gives the step back, and a collection stores it."""
    apply: Apply = field(compare=False, repr=False)
    """Batch by batch; gives what it would give for all documents at once. The statistics may be None if unneeded."""

    @property
    def needs_statistics(self) -> bool:
        return self.spec.startswith("idf:") or self.spec == "skip:stopwords"

    @property
    def needs_attention(self) -> bool:
        return self.spec.startswith("attention:")


def parse(steps: Sequence[str]) -> tuple[Step, ...]:
    """Steps from their strings; case and spaces do not matter. InvalidArgument: a string is none of `FORMS`."""
    if isinstance(steps, str):
        raise InvalidArgument(f"a recipe is a list of steps, got the string {steps!r}; write [{steps!r}]")
    if len(steps) > MAX_STEPS:
        raise InvalidArgument(f"the recipe has {len(steps):,} steps; at most {MAX_STEPS} are taken")
    return tuple(_step(step) for step in steps)


def reduce(tokens: Tokens, steps: Sequence[Step], statistics: Statistics | None = None) -> Tokens:
    """Applies the steps in order. Each document on its own, so batches may be cut anywhere.

    Raises:
        FailedPrecondition: a step needs statistics, ids, roles, weights or globals_ that are not there.
    """
    for step in steps:
        tokens = step.apply(tokens, statistics)
    return tokens


def needs_statistics(steps: Sequence[Step]) -> bool:
    """Whether `reduce` must be given statistics."""
    return any(step.needs_statistics for step in steps)


def needs_attention(steps: Sequence[Step]) -> bool:
    """Whether the encoder must be loaded with `EncoderOptions(attention=True)`."""
    return any(step.needs_attention for step in steps)


def count(tokens: Tokens, vocabulary: int, stop_ids: np.ndarray | None = None) -> Statistics:
    """Statistics of a tokenised sample (`Encoder.tokenize`; vectors are not looked at).

    Args:
        vocabulary: number of ids, `EncoderSpec.vocabulary`.
        stop_ids: as `stop_ids` finds them; None: no stop words.

    Raises:
        FailedPrecondition: the tokens have no ids.
        InvalidArgument: an id lies beyond the vocabulary.
    """
    if tokens.ids is None:
        raise FailedPrecondition("these tokens have no ids to count; count the tokens that Encoder.tokenize gives")
    if len(tokens.ids) and int(tokens.ids.max()) >= vocabulary:
        raise InvalidArgument(f"token id {int(tokens.ids.max())} lies beyond the vocabulary of {vocabulary} ids")
    pairs = np.unique(tokens.owners * vocabulary + tokens.ids.astype(np.int64))
    frequency = np.bincount(pairs % vocabulary, minlength=vocabulary).astype(np.int64)
    return Statistics(len(tokens), frequency, *([] if stop_ids is None else [stop_ids]))


def stop_ids(tokenize: Callable[[Sequence[str]], Tokens]) -> np.ndarray:
    """(s,) uint32 rising: ids of `STOPWORDS` that are a single WORD token, also capitalised and after a space.

    Both variants have ids of their own in byte-pair vocabularies. An id that several words share is the unknown token
    and left out.

    Raises:
        FailedPrecondition: the tokenizer gives no ids or no roles.
    """
    words = [*STOPWORDS, *(word.capitalize() for word in STOPWORDS)]
    tokens = tokenize([*words, *(f" {word}" for word in words)])
    if tokens.ids is None or tokens.roles is None:
        raise FailedPrecondition("stop words need the ids and roles of tokens; this tokenizer does not give both")
    only = tokens.select(tokens.roles == Role.WORD)
    lone = np.flatnonzero(only.lengths == 1)
    ids = cast(np.ndarray, only.ids)[only.offsets[lone]]
    pairs = np.unique(np.stack([ids.astype(np.int64), lone % len(STOPWORDS)], axis=1), axis=0)
    found, words_of = np.unique(pairs[:, 0], return_counts=True)
    return found[words_of == 1].astype(np.uint32)


def _step(text: str) -> Step:
    name, *arguments = [part.strip() for part in text.lower().split(":")]
    match [name, *arguments]:
        case ["pool", factor]:
            return _pool(text, "hierarchical", factor)
        case ["pool", method, factor]:
            return _pool(text, method, factor)
        case ["single"]:
            return Step("single", lambda tokens, _: pooling.pool_to_globals(tokens))
        case ["first" | "idf" | "attention", amount]:
            return _budgeted(text, name, amount)
        case ["skip", "punctuation"]:
            return Step("skip:punctuation", lambda tokens, _: pruning.drop_roles(tokens, [Role.PUNCTUATION]))
        case ["skip", "stopwords"]:
            return Step("skip:stopwords", lambda tokens, known: pruning.drop_stopwords(tokens, _given(known).stop_ids))
        case ["keep", roles]:
            return _roles(text, roles)
    raise _unreadable(text, _NEEDS.get(name, _known(name)))


def _known(name: str) -> str:
    near = get_close_matches(name, _NEEDS, 1)
    return f"no reducer is called {name!r}" + (f" (did you mean {near[0]}?)" if near else "")


def _pool(text: str, method: str, factor: str) -> Step:
    if method not in get_args(pooling.Method):
        raise _unreadable(text, f"no way of pooling is called {method!r}; take {', '.join(get_args(pooling.Method))}")
    chosen, n = cast(pooling.Method, method), _number(text, factor)
    spec = f"pool:{n}" if method == "hierarchical" else f"pool:{method}:{n}"
    return Step(spec, lambda tokens, _: pooling.pool(tokens, n, chosen))


def _budgeted(text: str, name: str, amount: str) -> Step:
    n = _number(text, amount.removesuffix("%"))
    share = amount.endswith("%")
    if share and n > 100:
        raise _unreadable(text, f"a share is at most 100%, and this is {n}%")
    budget = pruning.Budget(share=n / 100) if share else pruning.Budget(n)
    apply: dict[str, Apply] = {
        "first": lambda tokens, _: pruning.first_k(tokens, budget),
        "idf": lambda tokens, known: pruning.top_idf(tokens, budget, _given(known).idf),
        "attention": lambda tokens, _: pruning.top_attention(tokens, budget),
    }
    return Step(f"{name}:{n}{'%' if share else ''}", apply[name])


def _roles(text: str, names: str) -> Step:
    chosen, known = sorted({name.strip() for name in names.split(",")}), [role.name.lower() for role in Role]
    if unknown := [name for name in chosen if name not in known]:
        raise _unreadable(text, f"no role is called {unknown[0]!r}; there are {', '.join(known)}")
    roles = [Role[name.upper()] for name in chosen]
    return Step(f"keep:{','.join(chosen)}", lambda tokens, _: pruning.keep_roles(tokens, roles))


def _number(text: str, digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10 and int(digits) >= 1):
        raise _unreadable(text, f"{brief(digits)} is no whole number from 1 up")
    return int(digits)


def _unreadable(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"cannot read step {text!r}: {why}. A step is one of {' | '.join(FORMS)}")


def _given(statistics: Statistics | None) -> Statistics:
    if statistics is None:
        raise FailedPrecondition("this step needs statistics; count() them over a sample of the documents")
    return statistics
