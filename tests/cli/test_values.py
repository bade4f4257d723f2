"""How sizes and addresses are typed."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.cli._options import parse_address, parse_choices, parse_list
from ptmtorrent.errors import UsageError
from ptmtorrent.model.text import parse_size, spell_seconds, spell_size

SIZES = [
    ("0", 0),
    ("17", 17),
    ("17B", 17),
    ("500M", 500_000_000),
    ("10GB", 10_000_000_000),
    ("1.5GiB", 1_610_612_736),
    ("0.5 kib", 512),
    ("2T", 2_000_000_000_000),
]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_a_size_reads_as_its_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1e9", "10 apples", "nan", "1.GB", ".5G", "10GB10", "\uff11"])
def test_what_is_not_a_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text)
    assert "1.5GiB" in str(caught.value.hint)


@given(st.integers(0, 10**15 - 1), st.sampled_from(["", "B"]))
def test_every_count_of_bytes_reads_back(size: int, unit: str) -> None:
    assert parse_size(f"{size}{unit}") == size


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert parse_size(text) >= 0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:6881", ("127.0.0.1", 6881)),
        ("seed.example.org:80", ("seed.example.org", 80)),
        ("[::1]:6881", ("::1", 6881)),
    ],
)
def test_an_address_reads_as_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", ":6881", "host:0", "host:65536", "::1:80", "a/b:80", "u@h:80"])
def test_what_is_not_an_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert "HOST:PORT" in str(caught.value.hint)


def test_port_zero_is_for_listening_only() -> None:
    assert parse_address("127.0.0.1:0", any_port=True) == ("127.0.0.1", 0)


def test_choices_are_joined_by_commas() -> None:
    assert parse_choices("docs, config", ("docs", "config", "weights"), "--only") == ("docs", "config")
    assert parse_choices(None, ("docs",), "--only") == ()


def test_a_list_takes_commas_and_repetition_alike() -> None:
    assert parse_list(["a,b", "c"]) == parse_list(["a", "b", "c"]) == parse_list(["a, b,,c"]) == ("a", "b", "c")
    assert parse_list(None) == ()
    assert parse_choices(["docs", "config,docs"], ("docs", "config"), "--only") == ("docs", "config", "docs")


def test_an_unknown_choice_names_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        parse_choices("docs,tensors", ("docs", "weights"), "--only")
    assert "`weights`" in str(caught.value.hint)


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (3 * 10**12, "3.0 TB")])
def test_sizes_are_spelled_in_decimal_units(size: int, text: str) -> None:
    assert spell_size(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(3.14, "3.1 s"), (250, "4 min 10 s"), (7500, "2 h 05 min")])
def test_durations_are_spelled_for_reading(seconds: float, text: str) -> None:
    assert spell_seconds(seconds) == text
