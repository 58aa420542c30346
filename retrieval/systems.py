"""The systems: each a record that names its choices. Its scoring names the
plan that compares tokens (index/reading/plans.py)."""

from __future__ import annotations

from dataclasses import dataclass

from ..index.errors import InvalidArgument
from ..index.params import Scoring, SearchParams


@dataclass(frozen=True)
class System:
    """A retrieval system: how matches of tokens become scores, and what a search spends unless told otherwise."""

    name: str
    scoring: Scoring
    params: SearchParams
    source: str
    store: str = "auto"
    """What `auto` means for it."""


SYSTEMS = {
    system.name: system
    for system in (
        System("colbert", Scoring("all"), SearchParams(), "Khattab & Zaharia 2020, arXiv 2004.12832"),
        System("coil", Scoring("coil"), SearchParams(), "Gao et al. 2021, arXiv 2104.07186", "contextual"),
        System("xtr", Scoring("retrieved", "kth"), SearchParams(k_token=10_000), "Lee et al. 2023, arXiv 2304.01982"),
    )
}


def system_named(name: str) -> System:
    """InvalidArgument: there is no such system."""
    if name not in SYSTEMS:
        raise InvalidArgument(f"no system is called {name!r}; choose one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]
