import pytest

from ptmtorrent.model.text import count


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 packages"), (1, "1 package"), (2, "2 packages"), (1200, "1,200 packages")]
)
def test_a_count_is_singular_for_one_thing_only(number: int, text: str) -> None:
    assert count(number, "package") == text


def test_a_plural_can_be_given() -> None:
    assert count(2, "entry", "entries") == "2 entries"
    assert count(1, "entry", "entries") == "1 entry"
