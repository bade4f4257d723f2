from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import StoreError, TrustError, UsageError
from ptmtorrent.trust.fingerprints import fingerprint, parse_fingerprint
from ptmtorrent.trust.pins import Pin, Pins, normalise

ROOT = b'{"signatures":[],"signed":{}}'
PRINT = fingerprint(ROOT)


def test_a_pinned_channel_is_found_again(tmp_path: Path) -> None:
    Pins(tmp_path / "trust").add("https://example.org/ptm/", PRINT, ROOT)
    assert Pins(tmp_path / "trust").find("https://example.org/ptm") == ROOT


def test_an_unknown_channel_has_no_pin(tmp_path: Path) -> None:
    assert Pins(tmp_path / "trust").find("https://example.org/ptm") is None
    assert Pins(tmp_path / "trust").list() == ()
    assert not (tmp_path / "trust").exists()


def test_another_root_is_not_pinned(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="has the fingerprint"):
        Pins(tmp_path).add("https://example.org/ptm", PRINT, ROOT + b" ")
    assert Pins(tmp_path).list() == ()


@pytest.mark.parametrize("text", ["", "b3:", PRINT[3:], PRINT.upper(), PRINT + "0", PRINT[:-1], "sha256:" + "0" * 64])
def test_a_malformed_fingerprint_is_a_usage_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="fingerprint"):
        Pins(tmp_path).add("https://example.org/ptm", text, ROOT)


@given(st.text(max_size=70))
def test_only_the_one_spelling_of_a_fingerprint_is_accepted(text: str) -> None:
    try:
        assert len(parse_fingerprint(text)) == 67
    except UsageError:
        assert not text.startswith("b3:") or len(text) != 67 or set(text[3:]) - set("0123456789abcdef")


def test_a_channel_may_be_pinned_anew(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    pins.add("/srv/a", PRINT, ROOT)
    pins.add("/srv/a", fingerprint(b"new"), b"new")
    assert pins.find("/srv/a") == b"new"
    assert len(pins.list()) == 1


def test_pins_are_listed_by_location(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    pins.add("/srv/b", PRINT, ROOT)
    pins.add("/srv/a", PRINT, ROOT)
    assert pins.list() == (Pin(location="/srv/a", fingerprint=PRINT), Pin(location="/srv/b", fingerprint=PRINT))


@pytest.mark.parametrize(
    ("spelling", "normal"),
    [
        ("https://example.org/ptm///", "https://example.org/ptm"),
        ("https://example.org", "https://example.org"),
        ("HTTPS://Example.ORG/Ptm/", "https://example.org/Ptm"),
        ("globus:1234/ptm/", "globus:1234/ptm"),
        ("/srv/ptm/", "/srv/ptm"),
        ("/srv/x/../ptm", "/srv/ptm"),
        ("file:///srv/ptm/", "/srv/ptm"),
        ("file:/srv/my%20ptm", "/srv/my ptm"),
    ],
)
def test_a_location_has_one_spelling(spelling: str, normal: str) -> None:
    assert normalise(spelling) == normal
    assert normalise(normal) == normal


def test_a_broken_url_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        normalise("http://[::1")


def test_a_relative_folder_is_taken_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert normalise("channel") == str(tmp_path / "channel")


def test_the_file_is_canonical(tmp_path: Path) -> None:
    Pins(tmp_path).add("/srv/a", PRINT, ROOT)
    assert (tmp_path / "pins.json").read_bytes() == (
        b'{"format":"ptmtorrent/pins","pins":{"/srv/a":"' + PRINT.encode() + b'"},"requires":[],"version":1}'
    )


@pytest.mark.parametrize("damage", [b"changed", None])
def test_a_damaged_root_names_the_verb_that_restores_it(tmp_path: Path, damage: bytes | None) -> None:
    pins = Pins(tmp_path)
    pins.add("/srv/a", PRINT, ROOT)
    path = tmp_path / PRINT[3:] / "1.root.json"
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(StoreError) as caught:
        pins.find("/srv/a")
    assert f"trust add /srv/a --fingerprint {PRINT}" in (caught.value.hint or "")
    pins.add("/srv/a", PRINT, ROOT)
    assert pins.find("/srv/a") == ROOT


def test_damaged_pins_are_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "pins.json").write_bytes(b"{}")
    with pytest.raises(StoreError, match=r"pins\.json"):
        Pins(tmp_path).find("/srv/a")
