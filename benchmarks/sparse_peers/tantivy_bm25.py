"""tantivy 0.27.0 (Rust, after Lucene): BM25 with block-max WAND, k1 1.2, b 0.75, in one segment.

pip install --no-deps --target PEERS tantivy==0.27.0

It keeps a document's length in one byte, so that it ranks a little differently; recall says how much. Inside the timing
are the search, and the look-up of the numbers of the documents found.
"""

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from sparse_engine import Engine, clocked, file_bytes, sparse_rows

HEAP = 1 << 30
"""Enough that everything is one segment."""


def engines(counts: Any, queries: Any, k: int) -> list[Engine]:
    tantivy = import_module("tantivy")
    schema = tantivy.SchemaBuilder()
    schema.add_text_field("body", stored=False, tokenizer_name="whitespace", index_option="freq")
    schema.add_integer_field("number", stored=False, indexed=False, fast=True)
    with tempfile.TemporaryDirectory() as folder:

        def make() -> Any:
            index = tantivy.Index(schema.build(), path=folder)
            writer = index.writer(heap_size=HEAP, num_threads=1)
            for number, (keys, times) in enumerate(sparse_rows(counts)):
                body = " ".join(f"t{key}" for key in np.repeat(keys, times.astype(int)).tolist())
                writer.add_document(tantivy.Document(body=body, number=number))
            writer.commit()
            writer.wait_merging_threads()
            index.reload()
            return index

        index, seconds, grown = clocked(make)
        searcher = index.searcher()  # what it maps outlives the folder
        size = file_bytes(Path(folder)) / counts.nnz
    query = tantivy.Query
    asked = []
    for keys, _ in sparse_rows(queries):
        terms = [query.term_query(index.schema, "body", f"t{key}", "freq") for key in keys.tolist()]
        asked.append(query.boolean_query([(tantivy.Occur.Should, term) for term in terms]))

    def search(q: int) -> np.ndarray:
        hits = searcher.search(asked[q], k, count=False).hits
        return np.array(searcher.fast_field_values("number", [address for _, address in hits]), np.int64)

    return [Engine("tantivy", f"{searcher.num_segments} segments", search, seconds, size, 0.0, grown)]
