import numpy as np

def widen(half: np.ndarray, out: np.ndarray) -> None: ...
def segmented_max(scores: np.ndarray, offsets: np.ndarray, out: np.ndarray) -> None: ...
def pq4_assign(
    y: np.ndarray, centroids: np.ndarray, halves: np.ndarray, pull: float, passes: int, codes: np.ndarray
) -> None: ...
def pq4_scores(
    codes: np.ndarray,
    offsets: np.ndarray,
    allowed: np.ndarray | None,
    table: np.ndarray,
    top: float,
    scale: float,
    threads: int,
    out: np.ndarray,
) -> None: ...
def list_gains(
    codes: np.ndarray,
    documents: np.ndarray,
    bounds: np.ndarray,
    allowed: np.ndarray | None,
    table: np.ndarray,
    floors: np.ndarray,
    lists: np.ndarray,
    rows: np.ndarray,
    threads: int,
    gains: np.ndarray,
) -> None: ...
def greatest(values: np.ndarray, open: np.ndarray | None, places: np.ndarray) -> int: ...
def probes(scores: np.ndarray, k: int, lists: np.ndarray, rows: np.ndarray, least: np.ndarray) -> None: ...
def multiply(query: np.ndarray, panels: np.ndarray, out: np.ndarray) -> None: ...
def half_scores(
    rows: np.ndarray,
    scales: None,
    offsets: np.ndarray,
    documents: np.ndarray,
    query: np.ndarray,
    threads: int,
    out: np.ndarray,
) -> None: ...
def byte_scores(
    rows: np.ndarray,
    scales: np.ndarray,
    offsets: np.ndarray,
    documents: np.ndarray,
    query: np.ndarray,
    threads: int,
    out: np.ndarray,
) -> None: ...
def level() -> str: ...
def use_level(name: str) -> bool: ...
def levels_here() -> list[str]: ...
