"""What is a secret in a text, and what is not."""

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent import scrub as module
from ptmtorrent.errors import PtmError
from ptmtorrent.scrub import Login, keep_secret, scrub, scrub_bytes, shown, split_login, without_secrets

MARK = 'Pa55/W\u00f6rd"+ %x'


@pytest.fixture(autouse=True)
def _no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECRETS", type(module._SECRETS)())  # the registry of the process


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("`https://me:word@example.org/x`", "`https://example.org/x`"),
        ("(HTTPS://token@example.org)", "(HTTPS://example.org)"),
        ("https://me:w@rd@example.org/x@y", "https://example.org/x@y"),
        ("https://me:w/o?r#d@example.org/x", "https://example.org/x"),
        ("a s3://KEY:SECRET@bucket b", "a s3://bucket b"),
        ("ssh://git:word@example.org/x", "ssh://git@example.org/x"),
        ("ssh://git@example.org:22/x", "ssh://git@example.org:22/x"),
        ("git@example.org:team/x", "git@example.org:team/x"),
        ("https://example.org:8080/a@b", "https://example.org:8080/a@b"),
        ("https://[::1]:80/a@b", "https://[::1]:80/a@b"),
        ("https://h/x?page=2&access_token=abc&n=1", "https://h/x?page=2&access_token=***&n=1"),
        ("https://h/x?X-Amz-Signature=abc#d", "https://h/x?X-Amz-Signature=***#d"),
        ("https://h/x?monkey=1&design=2", "https://h/x?monkey=1&design=2"),
        ('{"id":"https://h:80","by":"a@b"}', '{"id":"https://h:80","by":"a@b"}'),
        ("mail me@example.org: a = b", "mail me@example.org: a = b"),
    ],
)
def test_logins_and_tokens_of_addresses_are_removed_and_nothing_else(text: str, clean: str) -> None:
    assert scrub(text) == clean
    assert scrub(clean) == clean
    assert PtmError(text, hint=text).message == clean
    assert PtmError("", hint=text).hint == clean


def test_a_registered_secret_is_removed_in_every_spelling() -> None:
    keep_secret(MARK, user="me")
    basic = Login("me", MARK).basic.removeprefix("Basic ")
    spellings = [MARK, quote(MARK), quote(MARK, safe=""), json.dumps(MARK), MARK.upper(), basic]
    for spelling in (*spellings, quote(MARK, safe="").lower(), json.dumps(MARK, ensure_ascii=False)):
        assert scrub(f"a {spelling} b").replace('"', "") == "a *** b", spelling
    assert scrub_bytes(f'{{"a":{json.dumps(MARK)}}}'.encode()) == b'{"a":"***"}'


def test_a_plus_stands_for_a_space() -> None:
    keep_secret("two words", user="me")
    assert scrub(quote_plus("two words")) == "***"


def test_a_short_secret_is_removed_from_addresses_alone() -> None:
    address, login = split_login("https://me:pw@example.org/pw")
    assert (address, login) == ("https://example.org/pw", Login("me", "pw"))
    assert scrub("the pw of https://me:pw@example.org") == "the pw of https://example.org"


def test_a_user_without_a_password_is_a_token() -> None:
    assert split_login("https://ghp_Abc123@example.org") == ("https://example.org", Login("ghp_Abc123"))
    assert scrub("sent ghp_Abc123") == "sent ***"


@given(st.text(max_size=30), st.text(min_size=1, max_size=30))
def test_a_login_survives_as_it_was_meant(user: str, password: str) -> None:
    address, login = split_login(f"https://{quote(user, safe='')}:{quote(password, safe='')}@example.org/x")
    assert (address, login) == ("https://example.org/x", Login(user, password))
    assert "password" not in repr(login)


def test_bytes_that_repeat_no_secret_are_the_same() -> None:
    keep_secret(MARK)
    data = b'\xff {"a": "https://me:word@h/"}'
    assert scrub_bytes(data) is data


@pytest.mark.parametrize("text", ["x:me:word@h/y", "https:me:word@h", "https://a/b:word@h", "globus:1@a:word@h/x"])
def test_a_refused_address_is_shown_without_all_that_may_be_a_login(text: str) -> None:
    assert "word" not in shown(text)


def test_an_address_that_is_used_again_keeps_its_query() -> None:
    assert without_secrets("https://me:word@h/x?pageToken=abc") == "https://h/x?pageToken=abc"
