"""What `make check-fast` leaves out exists."""

from fast import ROOMS, SLOW
from paths import TESTS


def test_slow_tests_exist() -> None:
    for end, names in SLOW.items():
        (file,) = [path for path in TESTS.rglob("test_*.py") if path.as_posix().endswith(f"/{end}")]
        text = file.read_text()
        assert [name for name in names if f"def {name}(" not in text] == [], end
    assert all((TESTS / room).is_dir() for room in ROOMS)
