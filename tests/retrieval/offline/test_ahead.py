"""One item ahead: order, errors and ends are those of the items themselves, and making overlaps with using."""

import threading
from collections.abc import Iterator

import pytest
from plait.retrieval.offline.ahead import ahead

WAIT = 30


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_all_come_in_order(n: int) -> None:
    assert list(ahead(iter(range(n)))) == list(range(n))


def test_the_next_is_made_while_one_is_used() -> None:
    begun = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for i, event in enumerate(begun):
            event.set()
            yield i

    for i in ahead(items()):
        if i < 3:
            assert begun[i + 1].wait(WAIT), "nothing is made until this one is done with"
        if i < 2:
            assert not begun[i + 2].is_set(), "only one is made ahead"


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    taken = []
    with pytest.raises(ValueError, match="third"):
        for i in ahead(items()):
            taken.append(i)
    assert taken == [1, 2]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_who_stops_early_leaves_no_thread_behind(error: type[BaseException]) -> None:
    made = []

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    taking = ahead(items())
    with pytest.raises(error):
        for i in taking:
            if i == 3:
                raise error
    taking.close()
    assert made[-1] <= 4
    assert not [t for t in threading.enumerate() if t.name.startswith("plait-ahead")]
