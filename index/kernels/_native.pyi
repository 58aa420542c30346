import numpy as np

def widen(half: np.ndarray, out: np.ndarray) -> None: ...
def segmented_max(scores: np.ndarray, offsets: np.ndarray, out: np.ndarray) -> None: ...
def pq4_assign(
    y: np.ndarray, centroids: np.ndarray, halves: np.ndarray, pull: float, passes: int, codes: np.ndarray
) -> None: ...
def pq4_table(products: np.ndarray, losses: np.ndarray, tops: np.ndarray) -> float: ...
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
def among_best(
    estimates: np.ndarray, wrong: np.ndarray, k: int, open: np.ndarray | None, places: np.ndarray
) -> int: ...
def probes(scores: np.ndarray, k: int, lists: np.ndarray, rows: np.ndarray, least: np.ndarray) -> None: ...
def multiply(query: np.ndarray, panels: np.ndarray, threads: int, out: np.ndarray) -> None: ...
def row_scores(
    rows: Rows,
    offsets: np.ndarray,
    documents: np.ndarray,
    query: np.ndarray,
    bounds: np.ndarray,
    threads: int,
    out: np.ndarray,
) -> None: ...
def row_estimates(
    rows: Rows,
    offsets: np.ndarray,
    documents: np.ndarray,
    query: np.ndarray,
    threads: int,
    out: np.ndarray,
    errors: np.ndarray,
) -> None: ...
def row_products(rows: Rows, query: np.ndarray, out: np.ndarray) -> None: ...
def best_rows(
    rows: Rows,
    allowed: np.ndarray | None,
    query: np.ndarray,
    threads: int,
    scores: np.ndarray,
    places: np.ndarray,
) -> None: ...
def widen_rows(rows: Rows, out: np.ndarray) -> None: ...
def rotation(entries: np.ndarray, rows: np.ndarray) -> None: ...
def eigen(matrix: np.ndarray, values: np.ndarray, vectors: np.ndarray) -> bool: ...
def row_dots(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None: ...

class Rows:
    @staticmethod
    def floats(values: np.ndarray) -> Rows: ...
    @staticmethod
    def halves(values: np.ndarray) -> Rows: ...
    @staticmethod
    def bytes(values: np.ndarray, scales: np.ndarray) -> Rows: ...
    @staticmethod
    def records(values: np.ndarray) -> Rows: ...
    @staticmethod
    def product(codes: np.ndarray, centroids: np.ndarray) -> Rows: ...
    @staticmethod
    def residual(codes: np.ndarray, centroids: np.ndarray, residuals: np.ndarray) -> Rows: ...
    @property
    def dim(self) -> int: ...
    def __len__(self) -> int: ...

class Inverted:
    def __init__(
        self,
        keys: np.ndarray,
        term_runs: np.ndarray,
        windows: np.ndarray,
        starts: np.ndarray,
        maxima: np.ndarray,
        scales: np.ndarray,
        lows: np.ndarray,
        offsets: np.ndarray,
        impacts: np.ndarray | None,
        window: int,
        token_rows: np.ndarray | None,
        row_bounds: np.ndarray,
        row_keys: np.ndarray,
        values: np.ndarray | None,
        halves: np.ndarray | None,
        saturation: np.ndarray | None,
        length_codes: np.ndarray | None,
        norms: np.ndarray | None,
    ) -> None: ...
    def search(
        self,
        row_keys: np.ndarray,
        row_weights: np.ndarray,
        row_bounds: np.ndarray,
        keys: np.ndarray | None,
        gains: np.ndarray | None,
        losses: np.ndarray | None,
        alpha: float,
        candidates: int,
        allowed: np.ndarray | None,
        threads: int,
        docs: np.ndarray,
        scores: np.ndarray,
    ) -> tuple[int, int, int]: ...

def sparse_maxsim(
    query_keys: np.ndarray,
    query_weights: np.ndarray,
    query_bounds: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    bounds: np.ndarray,
    token_rows: np.ndarray | None,
    scores: np.ndarray,
    met: np.ndarray,
) -> None: ...

class CoilLists:
    def __init__(
        self,
        term_runs: np.ndarray,
        windows: np.ndarray,
        starts: np.ndarray,
        offsets: np.ndarray,
        codes: np.ndarray,
        documents: int,
    ) -> None: ...
    def scan(
        self, terms: np.ndarray, vectors: np.ndarray, factors: np.ndarray, threads: int, out: np.ndarray
    ) -> None: ...

def byte_products(
    codes: np.ndarray, scales: np.ndarray, query: np.ndarray, factor: float, threads: int, out: np.ndarray
) -> None: ...
def coil_scores(
    rows: np.ndarray,
    ids: np.ndarray,
    offsets: np.ndarray,
    documents: np.ndarray,
    asked: np.ndarray,
    query: np.ndarray,
    scores: np.ndarray,
    products: np.ndarray | None,
    tokens: np.ndarray | None,
) -> None: ...
def half_products(rows: np.ndarray, places: np.ndarray, query: np.ndarray, out: np.ndarray) -> None: ...
def level() -> str: ...
def use_level(name: str) -> bool: ...
def levels_here() -> list[str]: ...
def map_file(descriptor: int, size: int) -> tuple[np.ndarray, int]: ...
def guard(begin: int, size: int) -> int: ...
def unguard(slot: int) -> None: ...
def lost(slot: int) -> bool: ...
def losses() -> int: ...
def first_changed(paths: bytes, stats: np.ndarray) -> int: ...
