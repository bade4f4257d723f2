from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import StoreError, TrustError, UsageError
from ptmtorrent.model import canonical
from ptmtorrent.trust.fingerprints import fingerprint, parse_fingerprint
from ptmtorrent.trust.pins import Pin, PinFile, Pins

ROOT = b'{"signatures":[],"signed":{}}'
PRINT = fingerprint(ROOT)
COLLECTION = "6f4f1c4e-5f2f-4c3a-9d5e-0a1b2c3d4e5f"


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
    ("pinned", "asked"),
    [
        ("https://example.org/ptm", "HTTPS://Example.ORG:443/%70tm/"),
        ("https://example.org/ptm", "https://example.org/x/.././ptm"),
        ("https://me:word@example.org/ptm", "https://example.org/ptm"),
        ("https://example.org/ptm", "https://me:Other@example.org/ptm"),
        ("/srv/ptm", "file:///srv/x/../ptm/"),
        (f"globus:{COLLECTION}/ptm", f"globus:{COLLECTION}@g-1.data.globus.org/ptm"),
    ],
)
def test_one_place_has_one_pin_however_it_is_spelled(tmp_path: Path, pinned: str, asked: str) -> None:
    pins = Pins(tmp_path)
    pins.add(pinned, PRINT, ROOT)
    assert pins.find(asked) == ROOT
    pins.add(asked, fingerprint(b"new"), b"new")
    assert pins.find(pinned) == b"new"
    assert len(pins.list()) == 1


@pytest.mark.parametrize(
    ("pinned", "asked"),
    [
        ("https://example.org/ptm", "http://example.org/ptm"),
        ("https://example.org/ptm", "https://example.org/PTM"),
        ("https://example.org/ptm", "https://example.org:8443/ptm"),
        ("https://example.org/a/b", "https://example.org/a%2Fb"),
        ("/srv/ptm", "/srv/PTM"),
    ],
)
def test_places_that_may_differ_share_no_pin(tmp_path: Path, pinned: str, asked: str) -> None:
    Pins(tmp_path).add(pinned, PRINT, ROOT)
    assert Pins(tmp_path).find(asked) is None


def write_pins(folder: Path, pins: dict[str, str]) -> Pins:
    document = PinFile(format=PinFile.FORMAT, version=PinFile.VERSION, requires=(), pins=pins)
    (folder / "pins.json").write_bytes(canonical.encode(document))
    for found, root in ((PRINT, ROOT), (fingerprint(b"new"), b"new")):
        (folder / found[3:]).mkdir()
        (folder / found[3:] / "1.root.json").write_bytes(root)
    return Pins(folder)


def test_pins_of_earlier_versions_are_read_in_the_canonical_spelling(tmp_path: Path) -> None:
    old = {"https://me:word@example.org:443/p%74m": PRINT, "s3://key:word@bucket": PRINT, "/srv/a": PRINT}
    pins = write_pins(tmp_path, old)
    assert [pin.location for pin in pins.list()] == ["/srv/a", "https://example.org/ptm", "s3://bucket"]
    assert pins.find("https://example.org/ptm") == ROOT
    pins.add("/srv/b", PRINT, ROOT)
    assert b"word" not in (tmp_path / "pins.json").read_bytes()


def test_two_earlier_fingerprints_of_one_place_are_not_trusted(tmp_path: Path) -> None:
    old = {"https://example.org:443/a": PRINT, "https://me@example.org/a": fingerprint(b"new")}
    assert write_pins(tmp_path, old).find("https://example.org/a") is None
    (tmp_path / "again").mkdir()
    pins = write_pins(tmp_path / "again", {**old, "https://example.org/a": fingerprint(b"new")})
    assert pins.find("https://example.org/a") == b"new"


def test_a_broken_url_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Pins(tmp_path).add("http://[::1", PRINT, ROOT)


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
