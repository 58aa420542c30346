"""Filters in SQL hold for exactly the documents that a slow reading of the definition names."""

import json
import operator
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plait.index.catalog.database import Connection
from plait.index.errors import InvalidArgument
from plait.index.filters import sql as filters
from plait.index.filters.sql import And, Eq, Exists, Filter, In, Not, Or, Range, compile, parse, to_json

Row = tuple[str, dict[str, Any] | None]
"""A document: its id and its payload."""
DECLARED = ("a", "A", "a.b", "b")
HOSTILE = ["'); DROP TABLE documents; --", "x' OR '1'='1", "$", "$.a') OR 1 --", "a\\", "%", "?", ":p", "[0]", "\n"]
COMPARE = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def split(field: str) -> list[str]:
    """The keys of a field, character by character."""
    keys, inside, previous = [""], False, ""
    for c in field:
        if c == '"':
            inside = not inside
            keys[-1] += c if inside and previous == c else ""
        elif c == "." and not inside:
            keys.append("")
        else:
            keys[-1] += c
        previous = c
    return keys


def quoted(keys: Sequence[str]) -> str:
    return ".".join('"' + key.replace('"', '""') + '"' for key in keys)


def kind(value: Any) -> str:
    for name, types in (("boolean", bool), ("number", (int, float)), ("text", str), ("null", type(None))):
        if isinstance(value, types):
            return name
    return "container"


def within(value: Any, leaf: Range) -> bool:
    bounds = [(name, getattr(leaf, name)) for name in COMPARE if getattr(leaf, name) is not None]
    return all(kind(value) == kind(bound) and COMPARE[name](value, bound) for name, bound in bounds)


def holds(filter: Filter, row: Row) -> bool:
    if isinstance(filter, Not):
        return not holds(filter.condition, row)
    if isinstance(filter, And):
        return all(holds(c, row) for c in filter.conditions)
    if isinstance(filter, Or):
        return any(holds(c, row) for c in filter.conditions)
    value: Any = row[1] or {}
    if filter.field == "$id":
        value = row[0]
    else:
        for key in split(filter.field):
            if not isinstance(value, dict) or key not in value:
                return False
            value = value[key]
    if isinstance(filter, Exists):
        return True
    values = value if isinstance(value, list) else [value]
    values = [float(v) if kind(v) == "number" and abs(v) >= 2**63 else v for v in values]
    if isinstance(filter, Range):
        return any(within(v, filter) for v in values)
    wanted = filter.values if isinstance(filter, In) else [filter.value]
    return any(kind(v) == kind(w) and v == w for v in values for w in wanted)


def table(rows: Sequence[Row], indexed: Collection[str] = ()) -> Connection:
    db = Connection(":memory:")
    db.execute("CREATE TABLE documents (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, payload TEXT)")
    for field in indexed:
        db.execute(filters.index_sql(field))
    for number, (id, payload) in enumerate(rows):
        text = None if payload is None else json.dumps(payload, ensure_ascii=False, allow_nan=False)
        db.execute("INSERT INTO documents VALUES (?, ?, ?)", (number, id, text))
    return db


def found(db: Connection, filter: Filter, declared: Collection[str] = ()) -> list[int]:
    sql, parameters = compile(filter, declared)
    return sorted(n for (n,) in db.execute(f"SELECT number FROM documents WHERE {sql}", parameters))


def plan(db: Connection, filter: Filter, declared: Collection[str]) -> str:
    sql, parameters = compile(filter, declared)
    steps = db.execute(f"EXPLAIN QUERY PLAN SELECT number FROM documents WHERE {sql}", parameters)
    return "\n".join(step[3] for step in steps)


def check(rows: Sequence[Row], filter: Filter) -> None:
    """The three ways to ask, and the values of the expression itself, agree with the definition."""
    expected = [holds(filter, row) for row in rows]
    numbers = [i for i, e in enumerate(expected) if e]
    plain, indexed = table(rows), table(rows, DECLARED)
    assert found(plain, filter) == numbers
    assert found(plain, filter, DECLARED) == numbers
    assert found(indexed, filter, DECLARED) == numbers
    for declared in ((), DECLARED):
        sql, parameters = compile(filter, declared)
        values = plain.execute(f"SELECT {sql} FROM documents ORDER BY number", parameters).fetchall()
        assert [v for (v,) in values] == expected
    plain.close()
    indexed.close()


TEXT = st.sampled_from(["", "a", "b", "A", "1", "[", "[1]", "true", "null", "é", "e\u0301", "😀", "\uffff"]) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3
)
KEYS = st.sampled_from(["a", "b", "a", "b", "A", "", ".", "a.b", '"', 'a"b', '\\"', "[0]", "$id", "0", "é", "\n", "eq"])
NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from([-(2**63), 2**63 - 1, 2**53, 2**53 + 1, 2.0**53, 1.5, -0.0, 0.1, 0.30000000000000004, 1e300])
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
PAYLOADS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS | st.sampled_from([2**63, 10**20, -(10**25)]),
        lambda values: st.lists(values, max_size=3) | st.dictionaries(KEYS, values, max_size=3),
        max_leaves=6,
    ),
    max_size=5,
)
ROWS = st.lists(st.tuples(TEXT, st.none() | PAYLOADS), max_size=6, unique_by=lambda row: row[0])
FIELDS = st.sampled_from(DECLARED) | st.lists(KEYS, min_size=1, max_size=3).map(quoted)
NAMES = st.lists(st.sampled_from(["gt", "gte", "lt", "lte"]), min_size=1, max_size=2, unique=True)


def ranges(fields: st.SearchStrategy[str], bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    named = NAMES.flatmap(lambda names: st.fixed_dictionaries(dict.fromkeys(names, bounds)))
    return st.builds(lambda field, bounds: Range(field, **bounds), fields, named)


def leaves(fields: st.SearchStrategy[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    several = st.lists(values, max_size=3).map(tuple)
    return st.builds(Eq, fields, values) | st.builds(In, fields, several) | st.builds(Exists, fields)


IDS = st.just("$id")
LEAVES = (
    leaves(FIELDS, SCALARS) | ranges(FIELDS, NUMBERS) | ranges(FIELDS, TEXT) | leaves(IDS, TEXT) | ranges(IDS, TEXT)
)
FILTERS = st.recursive(
    LEAVES,
    lambda some: (
        st.lists(some, max_size=3).map(lambda c: And(*c))
        | st.lists(some, max_size=3).map(lambda c: Or(*c))
        | some.map(Not)
    ),
    max_leaves=5,
)


@settings(max_examples=600, deadline=None)
@given(ROWS, FILTERS)
@example([("", {"a": 1}), ("1", {"a": True}), ("2", {"a": "1"}), ("3", {"a": [1.0]}), ("4", {"a": [[1]]})], Eq("a", 1))
@example([("", {"a": 2**53 + 1}), ("1", {"a": 2.0**53})], Eq("a", 2**53))
@example([("", {"a": None}), ("1", {}), ("2", {"a": []}), ("3", {"a": [None]}), ("4", {"a": {}})], Eq("a", None))
@example([("", {"a": '{"b": 1}'}), ("1", {"a": "[1]"}), ("2", {"a": {"b": 1}})], Or(Eq("a.b", 1), Eq("a", 1)))
@example([("", {"a": "[]"}), ("1", {"a": "{}"}), ("2", {"a": []})], In("a", ("[]", "{}")))
@example([("", {"a": "\ue000"}), ("1", {"a": "\U00010000"})], Range("a", gt="\uffff"))
def test_sql_agrees_with_the_definition(rows: list[Row], filter: Filter) -> None:
    check(rows, filter)


@settings(max_examples=200, deadline=None)
@given(st.lists(SCALARS | st.lists(SCALARS, max_size=2), min_size=1, max_size=8), st.data())
def test_values_of_one_field(values: list[Any], data: st.DataObject) -> None:
    """Operands come from the payloads, so that most comparisons are close ones."""
    scalars = [w for v in values for w in (v if isinstance(v, list) else [v])] or [0]
    rows: list[Row] = [(str(i), {"a": v}) for i, v in enumerate(values)]
    for condition in (Eq("a", data.draw(st.sampled_from(scalars))), In("a", tuple(scalars[::2]))):
        check(rows, condition)
    if bounds := [v for v in scalars if kind(v) in ("number", "text")]:
        check(rows, data.draw(ranges(st.just("a"), st.just(data.draw(st.sampled_from(bounds))))))


def paths(value: Any) -> list[list[str]]:
    """The keys on the way to everything that a field can name."""
    if not isinstance(value, dict):
        return []
    return [[key, *rest] for key, inner in value.items() for rest in ([], *paths(inner))]


@settings(max_examples=150, deadline=None)
@given(ROWS.filter(lambda rows: any(payload for _, payload in rows)), st.data())
def test_every_path_is_reached(rows: list[tuple[str, Any]], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([path for _, payload in rows for path in paths(payload)]))
    assert split(quoted(path)) == path
    check(rows, Exists(quoted(path)))
    for _, value in rows:
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if kind(value) not in ("container", "number"):
            check(rows, Eq(quoted(path), value))


@settings(max_examples=100, deadline=None)
@given(FILTERS)
def test_json_reads_back(filter: Filter) -> None:
    assert repr(parse(json.loads(json.dumps(to_json(filter))))) == repr(filter)


def test_the_forms_of_json() -> None:
    both = And(Eq("year", 2020), Eq("lang", "en"))
    assert parse({"year": 2020, "lang": "en"}) == parse(to_json(both)) == both
    assert parse({"tag": None}) == Eq("tag", None)
    assert parse({"eq": {"eq": 3}}) == Eq("eq", 3) and parse({'"eq"': 3}) == Eq('"eq"', 3)
    assert parse({"not": {"or": [{"in": {"tag": ["a", 1]}}, {"exists": "a.b"}]}}) == Not(
        Or(In("tag", ("a", 1)), Exists("a.b"))
    )
    assert parse({"range": {"year": {"gte": 2000, "lt": 2010}}}) == Range("year", gte=2000, lt=2010)
    rows: list[Row] = [("0", {"eq": 3}), ("1", {"$id": "0"}), ("2", {"a": {"b.c": 1}})]
    for filter, number in [(Eq('"eq"', 3), 0), (Eq('"$id"', "0"), 1), (Eq("$id", "0"), 0), (Eq('a."b.c"', 1), 2)]:
        assert found(table(rows), filter) == [number]


WRONG: list[tuple[Any, str]] = [
    ({}, r"filter is \{\}; take one of .*\"eq\""),
    ([], r"filter is \[\]"),
    ({"and": {"a": 1}}, r"filter\.and is .* list of filters"),
    ({"and": [{"a": 1}, 7]}, r"filter\.and\[1\] is 7"),
    ({"not": {"or": [{"not": {}}]}}, r"filter\.not\.or\[0\]\.not is \{\}"),
    ({"eq": {"a": 1}, "b": 2}, r"filter has 'eq' and other keys.*\"and\".*quote"),
    ({"eq": {"a": 1, "b": 2}}, r"filter\.eq: .*one field"),
    ({"eq": 5}, r"filter\.eq: 5 is no object"),
    ({"a": ["x", "y"]}, r"filter: 'a' is compared with \['x', 'y'\].*\"in\""),
    ({"a": {"gte": 1}}, r"filter: 'a' is compared with .*\"range\""),
    ({"in": {"a": "xy"}}, r"filter\.in: .*'xy'; write a list"),
    ({"range": {"a": {"gte": None, "lt": 3}}}, r"filter\.range: .*None"),
    ({"range": {"a": {"from": 1}}}, r"filter\.range: .*from.*gte"),
    ({"range": {"a": {}}}, r"filter\.range: .*one to four"),
    ({"range": {"a": {"gte": 1, "lt": "b"}}}, r"filter\.range: .*all numbers or all text"),
    ({"range": {"a": {"gte": True}}}, r"filter\.range: .*all numbers or all text"),
    ({"exists": ["a"]}, r"filter\.exists: the field \['a'\] is no text"),
    ({"$id": 5}, r"'\$id' is compared with 5; ids are text"),
    *[({"a": float(x)}, f"{x}; numbers must be finite") for x in ("nan", "-inf")],
    ({"a": "x\0"}, "without U\\+0000"),
    ({"a": "\ud800"}, "Unicode"),
    ({1: 2}, "the field 1 is no text"),
    *[({"exists": field}, "is no field") for field in ("", ".", "a.", ".a", "a..b", 'a"', '"a', '"a"b', 'a."b', "\0")],
]


@pytest.mark.parametrize(("value", "message"), WRONG, ids=lambda x: ascii(x)[:40])
def test_what_is_wrong_is_named(value: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse(value)


def chain(depth: int, leaf: Filter, last: bool = True) -> Filter:
    """A filter of `depth` levels, the deeper of two conditions last or first; where "a" is, it holds like its leaf."""
    for level in range(depth - 1):
        node, other = (And, Exists("a")) if level % 2 else (Or, Exists("missing"))
        leaf = node(other, leaf) if last else node(leaf, other)
    return leaf


def refused(make: Callable[[], object], *named: int) -> None:
    with pytest.raises(InvalidArgument, match=".*".join(map(str, named))):
        make()


def test_limits_of_filters() -> None:
    for count in (filters.MAX_NODES - 1, filters.MAX_NODES):
        check([("0", {"a": count - 2}), ("1", {"a": count - 1})], Or(*[Eq("a", i) for i in range(count - 1)]))
    wide = Or(*[Eq("a", i) for i in range(filters.MAX_NODES)])
    refused(lambda: compile(wide), 257, 256)
    refused(lambda: parse(to_json(wide)), 257, 256)
    for depth in (filters.MAX_DEPTH - 1, filters.MAX_DEPTH):
        check([("0", {"a": 999}), ("1", {"a": 7})], parse(to_json(chain(depth, Eq("a", 7)))))
    deep = chain(filters.MAX_DEPTH + 1, Eq("a", 7))
    refused(lambda: compile(deep), 33, 32)
    refused(lambda: parse(to_json(deep)), 33, 32)
    nested: Any = {"a": 1}
    for _ in range(100_000):
        nested = {"not": nested}
    refused(lambda: parse(nested), 33, 32)
    with pytest.raises(InvalidArgument, match="'junk' is no filter"):
        compile(And(Exists("a"), "junk"))  # pyright: ignore[reportArgumentType]


def test_limits_of_values() -> None:
    for count in (filters.MAX_VALUES - 1, filters.MAX_VALUES):
        check([("0", {"a": count - 1}), ("1", {"a": count})], In("a", tuple(range(count))))
    refused(lambda: In("a", tuple(range(1001))), 1001, 1000)
    for integer in (-(2**63), 1 - 2**63, 2**63 - 2, 2**63 - 1):
        check([("0", {"a": integer}), ("1", {"a": integer // 2})], Eq("a", integer))
        check([("0", {"a": integer}), ("1", {"a": integer // 2})], Range("a", gte=integer, lte=integer))
    for integer in (-(2**63) - 1, 2**63):
        refused(lambda i=integer: Eq("a", i), integer, -(2**63), 2**63 - 1)
        refused(lambda i=integer: Range("a", lt=i), integer)


def test_limits_of_fields() -> None:
    for length in (filters.MAX_FIELD - 1, filters.MAX_FIELD):
        check([("0", {"é" * length: 1}), ("1", {"é" * (length - 1): 1})], Eq("é" * length, 1))
    refused(lambda: Exists("x" * 129), 129, 128)
    for count in (filters.MAX_KEYS - 1, filters.MAX_KEYS):
        payload: dict[str, Any] = {"k": 1}
        for _ in range(count - 1):
            payload = {"k": payload}
        check([("0", payload), ("1", payload["k"]), ("2", {"k": payload})], Eq(".".join("k" * count), 1))
    refused(lambda: Exists(".".join("k" * 33)), 33, 32)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.booleans(), st.randoms(use_true_random=False))
def test_the_largest_filters_fit_into_sqlite(height: int, last: bool, random: Any) -> None:
    """However a filter within the limits branches, SQLite's parser takes it: a full tree under the longest chain."""
    longest = ".".join("k" * filters.MAX_KEYS)

    def tree(height: int) -> Filter:
        if height == 1:
            return random.choice([Eq(longest, 1), Range("a", gte="x"), Not(In("b", (None, 1)))])
        return random.choice([And, Or])(tree(height - 1), tree(height - 1))

    check([("0", {"a": 1, "b": 2}), ("1", {"a": ["x"]}), ("2", None)], chain(31 - height, tree(height), last))


@pytest.mark.parametrize("text", HOSTILE)
def test_injection_does_nothing(text: str) -> None:
    field = quoted([text])
    rows: list[Row] = [("0", {text: text}), (text, {"a": text}), ("2", {"a": {text: [text]}}), ("3", None)]
    for filter in (
        *(Eq(f, text) for f in (field, "a", f"a.{field}", "$id")),
        *(Range(f, gte=text, lte=text) for f in (field, "a", "$id")),
        Exists(field),
        In("a", (text, 1)),
    ):
        check(rows, filter)
    for make in (Eq, Range, lambda f, v: In(f, (v, 1)), lambda f, _: Exists(f)):
        assert compile(make(field, text))[0] == compile(make('"harmless"', "value"))[0]
        assert compile(make("a", text), DECLARED)[0] == compile(make("a", "value"), DECLARED)[0]
    for name in (text, field, f"a.{field}"):
        for call in (filters.check_declared, filters.index_sql, lambda name: compile(Not(Eq(name, 1)), [name])):
            with pytest.raises(InvalidArgument):
                call(name)


def test_fields_that_cannot_be_declared() -> None:
    for field in ("", "$id", "a.", "1a", "a b", "a-b", "é", "a\n", "a'", 'a"b', "a[0]", "x" * 129):
        with pytest.raises(InvalidArgument):
            filters.check_declared(field)


@pytest.fixture(scope="module")
def haystack() -> Connection:
    rows: list[Row] = [(f"d{i}", {"Year": 1, "year": i % 1000 + 0.5, "tag": [f"t{i}", "all"]}) for i in range(100_000)]
    rows[70_123] = ("needle", {"Year": "x", "year": 5000, "tag": ["all", "sharp"], "n": {"a.b": None}})
    return table(rows, ["year", "Year", "n.a"])


NEEDLES = [
    Eq("year", 5000),
    In("year", (5000.0, -1, "5000", None)),
    Range("year", gt=4999.5),
    Range("year", gte=5000, lt=5000.5),
    Eq("Year", "x"),
    Range("Year", gte="x"),
    And(Range("year", gt=900), Eq("tag", "sharp")),
]


@pytest.mark.parametrize("filter", NEEDLES, ids=str)
def test_the_needle_is_found_by_index_and_by_scan(haystack: Connection, filter: Filter) -> None:
    declared = ("year", "Year")
    assert found(haystack, filter) == found(haystack, filter, declared) == [70_123]
    assert "SCAN documents" in plan(haystack, filter, ())
    used = plan(haystack, filter, declared)
    index = "documents.payload." + ("^Year" if getattr(filter, "field", "") == "Year" else "year")
    assert f"SEARCH documents USING INDEX {index} (<expr>" in used and "SCAN documents" not in used


@pytest.mark.parametrize(
    "filter", [Eq("$id", "needle"), Range("$id", gt="n"), Eq("tag", "sharp"), Exists("n"), Eq('n."a.b"', None)], ids=str
)
def test_the_needle_is_found_without_a_declared_field(haystack: Connection, filter: Filter) -> None:
    assert found(haystack, filter) == [70_123]
    assert ("SCAN documents" not in plan(haystack, filter, ())) == (getattr(filter, "field", "") == "$id")


def test_null_is_searched_in_the_index() -> None:
    rows: list[Row] = [*((str(i), {"a": i}) for i in range(50)), ("x", {"a": None}), ("y", {}), ("n", {"a": [None]})]
    db = table(rows, ["a"])
    assert found(db, In("a", (None, 3)), ["a"]) == [3, 50, 52]
    assert "SCAN documents" not in plan(db, In("a", (None, 3)), ["a"])
