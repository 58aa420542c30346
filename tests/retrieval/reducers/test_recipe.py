"""Recipes: what each string does, that it round-trips, and that order counts."""

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.index.tokens import COLUMNS, Role, Tokens
from plait.retrieval.reducers import pooling, pruning, recipe
from plait.retrieval.reducers.pruning import Budget

VOCABULARY = 20
KNOWN = recipe.Statistics(9, np.arange(VOCABULARY, dtype=np.int64), np.array([1, 2, 3], np.uint32))
MEANING = {
    "pool:2": lambda t: pooling.pool(t, 2),
    "pool:kmeans:3": lambda t: pooling.pool(t, 3, "kmeans"),
    "pool:sequential:2": lambda t: pooling.pool(t, 2, "sequential"),
    "first:3": lambda t: pruning.first_k(t, Budget(3)),
    "first:70%": lambda t: pruning.first_k(t, Budget(share=0.7)),
    "idf:4": lambda t: pruning.top_idf(t, Budget(4), KNOWN.idf),
    "idf:50%": lambda t: pruning.top_idf(t, Budget(share=0.5), KNOWN.idf),
    "attention:50%": lambda t: pruning.top_attention(t, Budget(share=0.5)),
    "attention:2": lambda t: pruning.top_attention(t, Budget(2)),
    "skip:punctuation": lambda t: pruning.drop_roles(t, [Role.PUNCTUATION]),
    "skip:stopwords": lambda t: pruning.drop_stopwords(t, KNOWN.stop_ids),
    "keep:cls,word": lambda t: pruning.keep_roles(t, [Role.CLS, Role.WORD]),
    "single": pooling.pool_to_globals,
}


def batch(seed=0, lengths=(100, 0, 1, 9)):
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    return Tokens(
        rng.standard_normal((n, 5)).astype(np.float32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ids=rng.integers(0, VOCABULARY, n).astype(np.uint32),
        spans=np.arange(2 * n, dtype=np.uint32).reshape(n, 2),
        weights=rng.random(n).astype(np.float32),
        roles=rng.choice([Role.WORD, Role.CLS, Role.PUNCTUATION, Role.SEP], n).astype(np.uint8),
        globals_=rng.standard_normal((len(lengths), 4)).astype(np.float32),
    )


def equal(a, b):
    columns = [(getattr(a, name), getattr(b, name)) for name in COLUMNS]
    return all((x is None) == (y is None) and (x is None or np.array_equal(x, y)) for x, y in columns)


@pytest.mark.parametrize("spec", MEANING)
def test_each_step_does_what_its_function_does(spec):
    (step,) = recipe.parse([spec])
    assert step.spec == spec and recipe.parse([step.spec]) == (step,)
    tokens = batch()
    assert equal(recipe.reduce(tokens, [step], KNOWN), MEANING[spec](tokens))
    assert not equal(recipe.reduce(tokens, [step], KNOWN), tokens)
    assert recipe.needs_statistics([step]) == (spec.startswith("idf") or spec == "skip:stopwords")
    assert recipe.needs_attention([step]) == spec.startswith("attention")


@given(st.permutations(sorted(MEANING.keys() - {"single"})), st.integers(0, 4), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_recipe_is_its_steps_one_after_the_other(names, length, seed):
    tokens = want = batch(seed)
    for name in names[:length]:
        want = MEANING[name](want)
    assert equal(recipe.reduce(tokens, recipe.parse(names[:length]), KNOWN), want)


def test_order_matters():
    tokens = batch()
    pooled_first = recipe.reduce(tokens, recipe.parse(["pool:2", "first:4"]))
    pruned_first = recipe.reduce(tokens, recipe.parse(["first:4", "pool:2"]))
    assert equal(pooled_first, pruning.first_k(pooling.pool(tokens, 2), Budget(4)))
    assert equal(pruned_first, pooling.pool(pruning.first_k(tokens, Budget(4)), 2))
    assert not equal(pooled_first, pruned_first)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        (" POOL : 02 ", "pool:2"),
        ("pool:hierarchical:3", "pool:3"),
        ("keep:word, cls,word", "keep:cls,word"),
        ("First:070%", "first:70%"),
        ("idf:100%", "idf:100%"),
    ],
)
def test_canonical_strings(text, spec):
    assert recipe.parse([text]) == recipe.parse([spec])
    assert recipe.parse([text])[0].spec == spec


@pytest.mark.parametrize(
    "text",
    ["", "pool", "pool:0", "pool:-1", "pool:2.5", "pool:²", "pool:median:2", "pool:2:2", "single:1", "first", "first:",
     "first:0", "first:0%", "first:101%", "idf:%", "attention:many", "skip:words", "keep:", "keep:noun",
     "pool:" + "9" * 5000]
)  # fmt: skip
def test_unreadable_steps_are_named_and_the_forms_listed(text):
    with pytest.raises(InvalidArgument) as error:
        recipe.parse(["pool:2", text])
    assert repr(text) in str(error.value)
    assert all(form in str(error.value) for form in recipe.FORMS)


def test_a_string_is_not_a_list_of_steps():
    with pytest.raises(InvalidArgument, match=r"\['pool:2'\]"):
        recipe.parse("pool:2")


def test_every_listed_form_is_readable():
    for form in recipe.FORMS:
        recipe.parse([form.split(" (")[0].replace("N", "7").replace("ROLE,...", "cls,pooled")])


@pytest.mark.parametrize("spec", ["idf:3", "skip:stopwords"])
def test_missing_statistics(spec):
    with pytest.raises(FailedPrecondition, match="needs statistics"):
        recipe.reduce(batch(), recipe.parse([spec]))


@given(st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=6), max_size=6))
@settings(deadline=None)
def test_count_counts_documents_not_tokens(documents):
    offsets = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    ids = np.array([i for document in documents for i in document], np.uint32)
    tokens = Tokens(np.zeros((len(ids), 0), np.float32), offsets, ids)
    counted = recipe.count(tokens, VOCABULARY)
    assert counted.documents == len(documents) and len(counted.stop_ids) == 0
    for i in range(VOCABULARY):
        frequency = sum(i in document for document in documents)
        assert counted.document_frequency[i] == frequency
        np.testing.assert_allclose(counted.idf[i], log((1 + len(documents)) / (1 + frequency)), atol=1e-12)


def test_count_refuses_what_it_cannot_count():
    tokens = Tokens(np.zeros((1, 0), np.float32), np.array([0, 1]), np.array([5], np.uint32))
    with pytest.raises(InvalidArgument, match="token id 5 lies beyond the vocabulary of 5"):
        recipe.count(tokens, 5)
    with pytest.raises(FailedPrecondition, match="no ids"):
        recipe.count(Tokens(tokens.vectors, tokens.offsets), 5)
    assert recipe.count(tokens, 6, np.array([4], np.uint32)).stop_ids.tolist() == [4]


def test_stop_ids_are_whole_words_in_all_their_variants():
    """As byte pairs: a leading space and case matter, some words split, two words share the unknown token."""
    vocabulary = {"the": 10, "The": 11, " the": 12, "of": 13, "with": 0, "would": 0}

    def tokenize(texts):
        documents = [
            [99, vocabulary.get(t, 100 + 2 * i), *[101 + 2 * i] * (t not in vocabulary), 98]
            for i, t in enumerate(texts)
        ]
        return Tokens(
            np.zeros((sum(map(len, documents)), 0), np.float32),
            np.cumsum([0, *map(len, documents)]).astype(np.int64),
            np.array([i for d in documents for i in d], np.uint32),
            roles=np.array([r for d in documents for r in [Role.CLS, *[Role.WORD] * (len(d) - 2), Role.SEP]], np.uint8),
        )

    found = recipe.stop_ids(tokenize)
    assert found.tolist() == [10, 11, 12, 13] and found.dtype == np.uint32
    with pytest.raises(FailedPrecondition, match="roles"):
        recipe.stop_ids(lambda texts: Tokens(np.zeros((0, 0), np.float32), np.zeros(len(texts) + 1, np.int64)))


def test_stop_words_are_a_plain_list():
    assert len(set(recipe.STOPWORDS)) == len(recipe.STOPWORDS) > 100
    assert all(word.isalpha() and word.islower() for word in recipe.STOPWORDS)
