"""`pytest -p fast` (make check-fast): leaves out what needs torch, a server or another process, and what takes long."""

import multiprocessing.process
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from paths import TESTS

WITHOUT = {"grpc", "grpc_tools", "sentence_transformers", "torch", "transformers", "triton"}
"""They seem not to be installed; tests skip what needs them."""
ROOMS = ("device", "service", "torture")
"""What is tested there needs them, or processes, throughout."""
SLOW = {
    "catalog/test_catalog_pages.py": ["test_no_flipped_bit_changes_an_answer"],
    "catalog/test_schedules.py": ["test_any_order_of_steps_keeps_what_was_acknowledged"],
    "codecs/test_codecs.py": [
        "test_product_codes_stand_for_their_codes",
        "test_records_decode_in_blocks",
        "test_scores_are_maxsim_of_what_records_stand_for",
    ],
    "codecs/test_pq4.py": ["test_threads_and_levels_do_not_change_a_bit"],
    "codecs/test_precision.py": ["test_every_store_ranks_by_what_the_records_stand_for"],
    "coil/test_coil.py": ["test_search_is_the_formula"],
    "disk/test_faults.py": ["test_a_failing_sync_makes_the_writer_read_only"],
    "disk/test_flips.py": [
        "test_files_made_to_harm_behind_right_checksums_raise_nothing_raw",
        "test_manifests_made_to_harm_raise_nothing_raw",
        "test_one_flipped_bit_is_named_by_a_read_and_by_a_check",
    ],
    "filters/test_filters.py": [
        "test_every_path_is_reached",
        "test_sql_agrees_with_the_definition",
        "test_the_largest_filters_fit_into_sqlite",
        "test_the_needle_is_found_by_index_and_by_scan",
        "test_the_needle_is_found_without_a_declared_field",
        "test_values_of_one_field",
    ],
    "late/test_faiss_store.py": ["test_same_seed_same_bytes_for_any_threads_and_blocks"],
    "recall/test_term_calibration.py": [
        "test_drawn_queries_are_of_living_documents",
        "test_every_point_is_what_a_search_finds",
    ],
    "sparse/test_postings.py": ["test_pruning_leaves_the_answer_as_it_is"],
    "index/test_collection.py": ["test_every_store_at_full_probe_is_exact"],
    "index/test_same_bits.py": [
        "test_a_record_does_not_depend_on_its_batch",
        "test_a_score_depends_on_the_document_and_the_query_alone",
        "test_collections_score_alike_however_documents_lie",
        "test_the_nearest_centroid_does_not_depend_on_the_batch",
    ],
    "writing/test_learned.py": ["test_any_order_of_first_writers_leaves_one_codebook"],
    "writing/test_live.py": ["test_any_sequence_equals_a_dictionary"],
    "writing/test_pending.py": ["test_any_sequence_equals_a_dictionary"],
    "writing/test_terms_live.py": ["test_any_sequence_equals_a_dictionary"],
    "encoders/test_minilm.py": ["test_vectors_are_unit_hidden_states"],
    "retrieval/test_retriever.py": ["test_an_estimate_foretells_the_size"],
    "text/test_freshness.py": ["test_nothing_is_left_of_having_waited"],
    "routes/test_explained_hits.py": [
        "test_a_document_passes_all_stages_if_and_only_if_it_is_a_hit",
        "test_the_lanes_of_a_hybrid_search_sum_to_the_score_of_the_hit",
    ],
    "routes/test_stages.py": [
        "test_the_way_ends_where_the_search_says",
        "test_ways_by_every_lane_and_fusion_end_where_the_search_says",
    ],
}
"""By the end of a file's path: tests that take more than a second of CPU, with all of their parameters."""


class Absent:
    """Finds nothing, and for some names nobody else does either."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name in WITHOUT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def pytest_configure() -> None:
    sys.meta_path.insert(0, Absent)
    subprocess.Popen.__init__ = skip
    multiprocessing.process.BaseProcess.start = skip
    os.fork = skip


def skip(*_: Any, **__: Any) -> NoReturn:
    pytest.skip("starts a process", allow_module_level=True)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path in [TESTS / room for room in ROOMS] else None


def is_slow(path: str, name: str) -> bool:
    return any(path.endswith(file) and name in names for file, names in SLOW.items())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = [item for item in items if is_slow(item.path.as_posix(), item.name.partition("[")[0])]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]
