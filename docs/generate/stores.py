"""The pages of stores and reducers, from the docstrings that define them."""

from __future__ import annotations

import inspect
import re
from typing import Any

from plait.index import stores
from plait.index.codecs import codec
from plait.index.codecs.precisions import PRECISIONS
from plait.index.late import faiss_params, faiss_store
from plait.retrieval.reducers import pooling, pruning, recipe
from tables import code, field_docs, prose, sections, table

HEAD = """# Stores and precisions

A store says what a sealed segment has beside its vectors, and so how a search finds its candidates. A precision says
how a token vector is kept, and so what an exact score is computed from. Both are chosen when a collection is made
(`--store`, `--precision`). [Choosing](../how-to/choose.md) compares them by measured figures."""
REDUCERS = """# Reducers

A reducer makes the token vectors of a document fewer before they are stored. A recipe is a list of reducers, applied in
order: `--reduce`, `--prune` and `--pool` on the command line, `reduce=[...]` in Python. It is chosen when a collection
is made. [Measured results](../measurements/results.md) say what each costs in quality."""
FUNCTIONS: dict[str, Any] = {
    "pool": pooling.pool,
    "single": pooling.pool_to_globals,
    "first": pruning.first_k,
    "idf": pruning.top_idf,
    "attention": pruning.top_attention,
    "skip:punctuation": pruning.drop_roles,
    "skip:stopwords": pruning.drop_stopwords,
    "keep": pruning.keep_roles,
}
"""What a step calls, by the beginning of its form."""
ITEM = re.compile(r"^`([^`\n]+)`\s+(.+(?:\n(?!`).+)*)", re.M)
"""A line of a module's docstring that begins with code, and the lines that go on."""


def page() -> str:
    auto = f"`auto` codes a segment from {stores._FLAT_FROM:,} tokens and groups its codes from {stores._LISTS_FROM:,}."
    factory = field_docs(faiss_params.FaissParams)["factory"].replace("codecs in the module's table", "codecs below")
    codecs = re.search(r"^=+ .+^[= ]+$", inspect.getdoc(faiss_store) or "", re.S | re.M)
    assert codecs, "index/late/faiss_store.py no longer has a table of codecs"
    return sections([
        HEAD,
        "## Stores",
        table(["store", "what it adds to a segment"], _items(stores)),
        auto,
        f"A factory string of FAISS: {factory}",
        f"```text\n{codecs[0]}\n```",
        "## Precisions",
        f"Known are {', '.join(map(code, PRECISIONS))}.",
        table(["precision", "how a vector is kept"], _items(codec)),
    ])  # fmt: skip


def reducers_page() -> str:
    rows = [[code(form), prose((_function(form).__doc__ or "").split("\n\n")[0])] for form in recipe.FORMS]
    methods = re.search(r"method: (.+?)\n\s+\w+: ", pooling.pool.__doc__ or "", re.S)
    assert methods, "pooling.pool no longer describes its methods"
    numbers = prose((recipe.__doc__ or "").split("\n\n")[-1])
    return sections([
        REDUCERS,
        table(["step", "what it does"], rows),
        f"Ways of pooling (`pool:N` is `hierarchical`): {prose(methods[1])}",
        numbers,
        f"A recipe has at most {recipe.MAX_STEPS} steps.",
    ])  # fmt: skip


def _items(module: Any) -> list[list[str]]:
    return [[code(name), prose(text)] for name, text in ITEM.findall(inspect.getdoc(module) or "")]


def _function(form: str) -> Any:
    return next(function for name, function in FUNCTIONS.items() if form.startswith(name))
