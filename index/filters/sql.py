"""Payload filters: read from JSON, written as JSON, and compiled to SQLite SQL with bound parameters.

A field is a path of object keys joined by dots, `author.name`. A key that is empty or holds a dot or a quote is written
in double quotes, a quote inside them twice: `a."b.c"`, `disk."5"" floppy"`. Every other character, brackets included,
stands for itself; paths do not enter arrays. `$id` is the document's own id (a payload key of that name: `"$id"`).

Logic is two-valued: a condition on a field that is missing is false, and its Not true. An array satisfies Eq, In and
Range when one of its elements does. Values of different types are never equal and never in each other's range; integers
and floats are one type, null and booleans are types of their own. Text is ordered by code point.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from reprlib import repr as brief
from typing import Any

from ..errors import InvalidArgument
from .conditions import (
    ID,
    MAX_DEPTH,
    MAX_FIELD,
    MAX_INDEXED,
    MAX_KEYS,
    MAX_NODES,
    MAX_VALUES,
    And,
    Eq,
    Exists,
    Filter,
    In,
    Not,
    Or,
    Range,
    check_depth,
    check_size,
    keys,
    size,
)

__all__ = [
    "ID",
    "MAX_DEPTH",
    "MAX_FIELD",
    "MAX_KEYS",
    "MAX_NODES",
    "MAX_VALUES",
    "And",
    "Eq",
    "Exists",
    "Filter",
    "In",
    "Not",
    "Or",
    "Range",
    "check_declared",
    "check_indexed",
    "compile",
    "condition",
    "index_sql",
    "parse",
    "to_json",
    "unindex_sql",
]

_COMPARE = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_OPERATORS = ("eq", "in", "range", "exists", "and", "or", "not")
_FORMS = (
    '{"eq": {FIELD: VALUE}}, {"in": {FIELD: [VALUE, ..]}}, {"range": {FIELD: {"gte": BOUND, "lt": BOUND}}} (also gt, '
    'lte), {"exists": FIELD}, {"and": [..]}, {"or": [..]}, {"not": {..}} or, for equalities alone, {FIELD: VALUE, ..}'
)
_DECLARED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")


def parse(value: Mapping[str, Any]) -> Filter:
    """The filter that a JSON object describes: {"and": [{"eq": {"lang": "en"}}, {"range": {"year": {"gte": 2000}}}]}.

    {FIELD: VALUE, ..} is short for a conjunction of equalities, unless a field there is named like an operator: write
    that one in quotes, {"\"in\"": 3}, or its condition in full, {"eq": {"in": 3}}. InvalidArgument names the place.
    """
    filter = _parse(value, "filter", 1)
    check_size(filter)
    return filter


def to_json(filter: Filter) -> dict[str, Any]:
    """The JSON object, without shorthand, that `parse` reads back as this filter."""
    match filter:
        case Eq(field, value):
            return {"eq": {field: value}}
        case In(field, values):
            return {"in": {field: list(values)}}
        case Range(field):
            return {"range": {field: filter.bounds()}}
        case Exists(field):
            return {"exists": field}
        case And(conditions):
            return {"and": [to_json(c) for c in conditions]}
        case Or(conditions):
            return {"or": [to_json(c) for c in conditions]}
        case Not(condition):
            return {"not": to_json(condition)}


def compile(filter: Filter, declared: Collection[str] = ()) -> tuple[str, list[str]]:
    """An SQL expression, 1 or 0 for every row of `documents` (id, payload), and its parameters in order.

    Conditions on `declared` fields are written so that SQLite can answer them from the index of `index_sql`; with or
    without that index they hold for the same documents. A payload is NULL or what json.dumps(.., ensure_ascii=False,
    allow_nan=False) writes; integers beyond 64 bits in it count as floats, and its text is read up to a U+0000. Beside
    this condition write `+number`, in ORDER BY too, or SQLite may walk the numbers and leave such an index unused.
    """
    check_size(filter)
    return _compile(filter, declared)


def condition(filter: Filter | None, declared: Collection[str] = ()) -> tuple[str, list[str]]:
    """As `compile`; without a filter: what holds for every row."""
    return ("1", []) if filter is None else compile(filter, declared)


def check_declared(field: str) -> None:
    """InvalidArgument: the field cannot be declared. Its name becomes SQL text, hence the narrow form."""
    keys(field)
    if not _DECLARED.fullmatch(field):
        raise InvalidArgument(
            f"the field {field!r} cannot be declared; join keys of ASCII letters, digits and _ that do not start with "
            "a digit by dots"
        )


def check_indexed(fields: Collection[str]) -> None:
    """InvalidArgument: too many fields for indexes, one twice, or one that cannot be declared."""
    if len(fields) > MAX_INDEXED:
        raise InvalidArgument(
            f"fields are {len(fields):,}; at most {MAX_INDEXED} have an index, and others can be filtered too"
        )
    if len(set(fields)) < len(fields):
        raise InvalidArgument(f"fields are {[*fields]}; one occurs twice")
    for field in fields:
        check_declared(field)


def index_sql(field: str) -> str:
    """The statement that indexes a declared field."""
    return f"CREATE INDEX IF NOT EXISTS {_index(field)} ON documents ({_extract('payload', field)})"


def unindex_sql(field: str) -> str:
    """The statement that drops the index of a field."""
    return f"DROP INDEX IF EXISTS {_index(field)}"


def _parse(value: Any, at: str, depth: int) -> Filter:
    check_depth(depth)
    if not isinstance(value, Mapping) or not value:
        raise InvalidArgument(f"{at} is {brief(value)}; take one of {_FORMS}")
    operator = next((key for key in value if key in _OPERATORS), None)
    if operator is None:
        equalities = [_parse_leaf("eq", {field: operand}, at) for field, operand in value.items()]
        return And(*equalities) if len(equalities) > 1 else equalities[0]
    if len(value) > 1:
        raise InvalidArgument(
            f'{at} has {operator!r} and other keys; join conditions with "and", and quote a field named like an '
            'operator, as in {"\\"in\\"": 3}'
        )
    body, at = value[operator], f"{at}.{operator}"
    if operator == "not":
        return Not(_parse(body, at, depth + 1))
    if operator not in ("and", "or"):
        return _parse_leaf(operator, body, at)
    if not isinstance(body, list | tuple):
        raise InvalidArgument(f"{at} is {brief(body)}; take a list of filters")
    conditions = [_parse(c, f"{at}[{i}]", depth + 1) for i, c in enumerate(body)]
    return And(*conditions) if operator == "and" else Or(*conditions)


def _parse_leaf(operator: str, body: Any, at: str) -> Filter:
    try:
        if operator == "exists":
            return Exists(body)
        if not isinstance(body, Mapping) or len(body) != 1:
            raise InvalidArgument(f"{brief(body)} is no object with one field; take one of {_FORMS}")
        ((field, operand),) = body.items()
        if operator == "eq":
            return Eq(field, operand)
        if operator == "in":
            return In(field, operand)
        if not isinstance(operand, Mapping) or not operand.keys() <= _COMPARE.keys() or None in operand.values():
            raise InvalidArgument(f"the bounds of {brief(field)} are {brief(operand)}; name each of gt, gte, lt, lte")
        return Range(field, **operand)
    except InvalidArgument as error:
        raise InvalidArgument(f"{at}: {error}") from None


def _compile(node: Filter, declared: Collection[str]) -> tuple[str, list[str]]:
    match node:
        case Not(condition):
            sql, parameters = _compile(condition, declared)
            return f"NOT {sql}", parameters
        case And(conditions) | Or(conditions):
            # SQLite's parser has a stack of 100. A parenthesis that opens a chain takes one entry of it, a later one
            # three; with the largest condition first, at most log2(MAX_NODES) later ones lie above any leaf.
            compiled = [_compile(c, declared) for c in sorted(conditions, key=size, reverse=True)]
            word, empty = (" AND ", "1") if isinstance(node, And) else (" OR ", "0")
            sql = word.join(sql for sql, _ in compiled) or empty
            return f"({sql})", [p for _, parameters in compiled for p in parameters]
        case Exists(field):
            return ("1", []) if field == ID else _within(keys(field))
        case Eq(field) | In(field) | Range(field):
            if field == ID:
                sql, parameters = _compare("documents.id", node)
                return f"({sql})", parameters
            sql, parameters = _within(keys(field), node)
            if field not in declared:
                return sql, parameters
            candidates, more = _candidates(_extract("documents.payload", field), node)
            return f"({candidates} AND {sql})", more + parameters


def _within(keys: list[str], leaf: Eq | In | Range | None = None) -> tuple[str, list[str]]:
    """Whether a payload has these keys, and there a value, or an element of an array, that satisfies the leaf.

    Keys are compared with those that json_each lists: JSON paths cannot express all of them.
    """
    last = f"k{len(keys) - 1}"
    tables = ["json_each(documents.payload) AS k0"]
    tables += [f"json_each(iif(k{i}.type = 'object', k{i}.value, '{{}}')) AS k{i + 1}" for i in range(len(keys) - 1)]
    where = " AND ".join(f"k{i}.key = ?" for i in range(len(keys)))
    if leaf is None:
        return f"EXISTS (SELECT 1 FROM {', '.join(tables)} WHERE {where})", keys
    tables.append(f"json_each(iif({last}.type = 'array', {last}.value, '[0]')) AS element")  # no array: one row, too
    kind, atom = (f"iif({last}.type = 'array', element.{c}, {last}.{c})" for c in ("type", "atom"))
    if isinstance(leaf, Range):
        test, parameters = _compare("atom", leaf)
        is_text = any(isinstance(bound, str) for bound in leaf.bounds().values())
        test = f"kind = '{'text' if is_text else 'number'}' AND {test}"
    else:
        test, parameters = f"(kind, atom) IN (SELECT {_typed('type', 'atom')} FROM json_each(?))", [_values(leaf)]
    values = f"SELECT {_typed(kind, atom)} FROM {', '.join(tables)} WHERE {where}"
    return f"EXISTS (SELECT 1 FROM ({values}) WHERE {test})", keys + parameters


def _typed(type: str, atom: str) -> str:
    """Two columns that equal those of another JSON value when it is equal; no NULL, which would equal nothing."""
    return f"iif({type} IN ('integer', 'real'), 'number', {type}) AS kind, coalesce({atom}, 0) AS atom"


def _candidates(extract: str, leaf: Eq | In | Range) -> tuple[str, list[str]]:
    """A condition that an index on `extract` answers: true for all documents that satisfy the leaf, and few others.

    json_extract gives 1 for true, NULL for null and for a missing field, and for an array its JSON text, "[..".
    """
    sql, parameters = _compare(extract, leaf)
    has_null = None in leaf.values if isinstance(leaf, In) else isinstance(leaf, Eq) and leaf.value is None
    null = f" OR {extract} IS NULL" if has_null else ""
    return f"({sql} OR {extract} >= '[' AND {extract} < '\\'{null})", parameters


def _extract(column: str, field: str) -> str:
    check_declared(field)
    return f"json_extract({column}, '$.{field}')"


def _index(field: str) -> str:
    """Index names ignore case and fields do not: ^ marks a capital."""
    check_declared(field)
    return '"documents.payload.{}"'.format(re.sub("([A-Z])", r"^\1", field))


def _compare(column: str, leaf: Eq | In | Range) -> tuple[str, list[str]]:
    """A comparison by SQL's rules; SQLite's JSON parser reads the operands, to round numbers as it does in payloads."""
    if isinstance(leaf, Range):
        bounds = leaf.bounds()
        terms = [f"{column} {_COMPARE[name]} json_extract(?, '$')" for name in bounds]
        return " AND ".join(terms), [json.dumps(bound, ensure_ascii=False) for bound in bounds.values()]
    return f"{column} IN (SELECT value FROM json_each(?))", [_values(leaf)]


def _values(leaf: Eq | In) -> str:
    return json.dumps([leaf.value] if isinstance(leaf, Eq) else leaf.values, ensure_ascii=False)
