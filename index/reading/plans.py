"""The one place where a search's scoring becomes a plan."""

from __future__ import annotations

from collections.abc import Callable

from ..catalog.schema import Schema
from ..coil.plan import Coil
from ..late.plans import Colbert, Xtr
from ..params import Scoring
from ..search.plan import Plan

PLANS: dict[str, Callable[[Scoring, Schema], Plan]] = {
    "all": lambda scoring, schema: Colbert(),
    "retrieved": lambda scoring, schema: Xtr(scoring.missing),
    "coil": lambda scoring, schema: Coil(schema.vector),
}
"""By `Scoring.tokens`."""


def plan_of(scoring: Scoring, schema: Schema) -> Plan:
    return PLANS[scoring.tokens](scoring, schema)
