"""How locations are typed, and which spellings are one place."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import UsageError
from ptmtorrent.model.locations import (
    FolderLocation,
    GlobusLocation,
    WebLocation,
    as_location,
    parse_destination,
    parse_folder,
    parse_location,
)

COLLECTION = "6f4f1c4e-5f2f-4c3a-9d5e-0a1b2c3d4e5f"
ONE_PLACE = [
    ("https://example.org/ptm///", "https://example.org/ptm"),
    ("https://example.org", "https://example.org"),
    ("https://example.org:443/ptm", "https://example.org/ptm"),
    ("http://example.org:80/ptm", "http://example.org/ptm"),
    ("http://example.org:443/ptm", "http://example.org:443/ptm"),
    ("HTTPS://Example.ORG/Ptm/", "https://example.org/Ptm"),
    ("https://example.org/%70tm/%7euser", "https://example.org/ptm/~user"),
    ("https://example.org/a%2fb%c3%a9", "https://example.org/a%2Fb%C3%A9"),
    ("https://example.org/é 1", "https://example.org/%C3%A9%201"),
    ("https://example.org/100%", "https://example.org/100%25"),
    ("https://example.org/x/../ptm/./", "https://example.org/ptm"),
    ("https://example.org/%2e%2E/../ptm", "https://example.org/ptm"),
    ("https://example.org/a//b", "https://example.org/a//b"),
    ("https://[::1]:8080/ptm", "https://[::1]:8080/ptm"),
    ("https://user:Pass@Example.org/ptm", "https://example.org/ptm"),
    (f"GLOBUS:{COLLECTION.upper()}/ptm/", f"globus:{COLLECTION}/ptm"),
    ("/srv/ptm/", "/srv/ptm"),
    ("//srv//ptm", "/srv/ptm"),
    ("/srv/x/../ptm", "/srv/ptm"),
    ("/srv/a:b", "/srv/a:b"),
    ("file:///srv/ptm/", "/srv/ptm"),
    ("FILE://LocalHost/srv/ptm", "/srv/ptm"),
    ("file:/srv/my%20ptm", "/srv/my ptm"),
    ("file:///srv/%7Euser", "/srv/~user"),
]
UNSUPPORTED = [
    *("s3://bucket/channel", "S3://bucket", "s3:bucket", "gs://b/c", "ftp://example.org/channel", "sftp:///srv/ptm"),
    *("rclone:remote", "me@host:/srv/channel", "host:channel", "hf:org/name", "git+ssh://host/x", "x-y+z.1:/a", ":a"),
    *(" https://example.org", "C:/channel", "C:\\channel", "c:channel", "ht\ttp://example.org"),
]
MALFORMED = [
    *("", "a\0b", "http:", "http:example.org", "http://", "http:///x", "https://:80/x", "http://[::1", "http://a b/x"),
    *("http://a\\b/x", "https://example.org:port/x", "https://example.org:65536/x", "https://example.org/\n"),
    *("https://example.org/x?y=1", "https://example.org/x#y", "https://example.org/x?", "https://a%41b/x"),
    *(
        "file:",
        "file:srv",
        "file://[",
        "file://host/srv",
        "file:///srv?x",
        "file:///srv#x",
        "file:///a%00b",
        "~no-such-user-1/x",
    ),
    *("globus:", "globus:me/a", f"globus:{COLLECTION}/a/../b"),
]


@pytest.mark.parametrize(("spelling", "normal"), ONE_PLACE)
def test_a_location_has_one_spelling(spelling: str, normal: str) -> None:
    assert parse_location(spelling).location == normal
    assert parse_location(normal).location == normal
    assert str(parse_location(normal)) == normal


@pytest.mark.parametrize("text", UNSUPPORTED)
def test_another_scheme_is_a_usage_error_that_names_the_ways_there_are(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_location(text)
    assert f"`./{text}`" in (caught.value.hint or "")
    assert "rclone" in (caught.value.hint or "") or "/mnt/" in (caught.value.hint or "")


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_location_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_location(text)


@pytest.mark.parametrize("text", UNSUPPORTED)
def test_a_folder_may_be_named_like_an_address(text: str, tmp_path: Path) -> None:
    place = parse_location(f"./{text}", tmp_path)
    assert place == FolderLocation(path=tmp_path / text.rstrip("/"))
    assert as_location(tmp_path / text) == place
    assert parse_folder(f"./{text}", "--to") == Path(f"./{text}")


def test_a_relative_folder_starts_at_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_location("channel").location == str(tmp_path / "channel")
    assert parse_location("a/../channel", Path("/base")).location == "/base/channel"
    assert parse_location("~/channel", Path("/base")).location == "/home/me/channel"
    assert parse_location("./~/channel", Path("/base")).location == "/base/~/channel"
    assert as_location(Path("~/channel")).location == str(tmp_path / "~/channel")


def test_each_kind_is_a_value_of_its_own() -> None:
    assert isinstance(parse_location("/srv"), FolderLocation)
    assert isinstance(parse_location("https://example.org"), WebLocation)
    assert isinstance(parse_location(f"globus:{COLLECTION}"), GlobusLocation)


def test_a_login_is_kept_as_typed_and_shown_nowhere() -> None:
    place = parse_location("https://Me:PaSs%40Word@example.org/ptm")
    assert isinstance(place, WebLocation)
    assert place.login is not None
    assert (place.login.user, place.login.password) == ("Me", "PaSs@Word")
    assert "PaSs" not in f"{place} {place!r} {place.location} {place.identity}"


def test_a_web_server_is_no_destination() -> None:
    for text in ("http://example.org/ptm", "HTTPS://example.org"):
        with pytest.raises(UsageError, match="cannot be published to"):
            parse_destination(text)
    assert parse_destination("/srv") == FolderLocation(path=Path("/srv"))


@pytest.mark.parametrize("text", ["s3://b/models", "http://example.org/x", f"globus:{COLLECTION}/x", "C:/x", ""])
def test_an_option_of_a_folder_takes_no_other_location(text: str) -> None:
    with pytest.raises(UsageError):
        parse_folder(text, "--to")


@given(st.text(max_size=60) | st.from_regex(r"(https?|file|globus|s3)://?[!-~]{0,40}", fullmatch=True))
def test_a_location_read_again_is_the_same(text: str) -> None:
    with suppress(UsageError):
        place = parse_location(text)
        again = parse_location(place.location)
        assert (again.location, again.identity) == (place.location, place.identity)
