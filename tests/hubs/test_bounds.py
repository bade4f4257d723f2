"""A hostile hub cannot cause unbounded memory or time, lost packages or a traceback."""

import json
import subprocess
import threading
import time as clock
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.errors import HubError, IntegrityError, Interrupted
from ptmtorrent.facts.licence_texts import name_licence
from ptmtorrent.http import retry_after_seconds
from ptmtorrent.hubs.client import session as sessions
from ptmtorrent.hubs.client.download import Download
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.folder import FolderHub
from ptmtorrent.hubs.git.lfs import LfsObject, _check_answer, _Object
from ptmtorrent.hubs.git.process import Git, end
from ptmtorrent.hubs.git.trees import MAX_PATH_BYTES, _walk
from ptmtorrent.hubs.huggingface.adapter import _is_past
from ptmtorrent.hubs.kaggle.records import read_token
from ptmtorrent.hubs.onnx.records import tags_of
from ptmtorrent.hubs.port import HubFile, Listed, Located, Query
from ptmtorrent.hubs.pytorch.cards import read_card
from ptmtorrent.model.pointers import MAX_FILE_BYTES, parse_pointer
from ptmtorrent.state.clone_journal import Journal
from tests.hubs.peer import Reply, json_reply, serving

LONG = "x" * 99
CARD = "---\ngithub-id: o/n\n{}\n---\n"


def test_document_of_too_many_values_is_refused_before_it_is_read(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_JSON_VALUES", 100)
    with serving(lambda _: json_reply(json.dumps([[]] * 60))) as peer, pytest.raises(HubError, match="values"):
        session.read(f"{peer.base}/x", {}, budget="api", what="the list")


def test_document_that_takes_for_ever_ends_when_asked_to_stop() -> None:
    session = Session()
    threading.Timer(0.3, session.stop.set).start()
    with serving(
        lambda _: Reply(body=b"[" + b" " * 100, headers={"Content-Type": "application/json"}, slow=0.05)
    ) as peer:
        began = clock.monotonic()
        with pytest.raises(Interrupted):
            session.read(f"{peer.base}/x", {}, budget="api", what="the list")
    session.close()
    assert clock.monotonic() - began < 3


def test_document_that_takes_too_long_is_given_up(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_REPLY_SECONDS", -1.0)
    with serving(lambda _: json_reply("[]")) as peer, pytest.raises(HubError, match="seconds"):
        session.read(f"{peer.base}/x", {}, budget="api", what="the list")


def test_local_file_that_grew_is_not_copied_beyond_its_listed_size(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(1 << 20))
    session = Session()
    download = Download(
        session=session,
        locate=lambda: Located(path=tmp_path / "a.bin"),
        file=HubFile(path="a.bin", size=5, oid=None, source="url"),
        what="`a.bin`",
        part=tmp_path / "part",
        count=lambda *_: None,
        stop=session.stop,
    )
    with pytest.raises(IntegrityError, match="longer than the 5 bytes"):
        download.run()
    assert (tmp_path / "part").stat().st_size == 0


@pytest.mark.parametrize("name", ["PRIVATE-TOKEN", "X-JFrog-Art-Api", "Authorization", "Cookie"])
def test_no_header_of_the_hub_reaches_where_it_redirects(session: Session, name: str) -> None:
    with serving(lambda _: Reply(body=b"x")) as other:
        with (
            serving(lambda _: Reply(302, headers={"Location": f"{other.base}/x"})) as hub,
            session.open(f"{hub.base}/x", {name: "secret", "Range": "bytes=1-"}, budget="", what="`w`"),
        ):
            pass
        [asked] = other.asked
    assert "secret" not in asked.headers.values()
    assert asked.headers["range"] == "bytes=1-"


@pytest.mark.parametrize(
    "text", ["Mon, 01 Jan 2024 00:00:00 +9999999999999999999", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"]
)
def test_date_that_no_calendar_has_says_nothing(text: str) -> None:
    assert retry_after_seconds({"retry-after": text}, datetime.now(UTC)) is None


@pytest.mark.parametrize(("size", "is_pointer"), [(MAX_FILE_BYTES, True), ((1 << 63) - 1, True), (1 << 63, False)])
def test_pointer_of_any_size_that_git_lfs_counts_is_read(size: int, is_pointer: bool) -> None:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize {size}\n"
    assert (parse_pointer(text.encode()) is not None) == is_pointer


def test_journal_counts_beyond_64_bits() -> None:
    with Journal(None) as journal:
        run = journal.start("hub", "all", "2026-11-20T12:00:00Z")
        journal.add_page(run.id, [(name, 1, b"{}") for name in "ab"], None)
        journal.rank(run.id, None)
        for name in "ab":
            journal.keep_plan(run.id, name, b"", files=1, size=9 * 10**18, requests=1)
        assert journal.tally(run.id, "todo").bytes == pytest.approx(18 * 10**18)


def test_listing_goes_on_past_a_record_without_a_count() -> None:
    some = (Listed(name="a", downloads=90), Listed(name="b", downloads=None), Listed(name="c", downloads=80))
    assert not _is_past(some, 10)
    assert not _is_past((Listed(name="b", downloads=None),), 10)
    assert _is_past((*some, Listed(name="d", downloads=9), Listed(name="e", downloads=None)), 10)


@pytest.mark.parametrize("token", ["x" * 10_000, 5, ["x"]])
def test_page_token_that_cannot_be_sent_back_is_no_end_of_the_listing(token: object) -> None:
    with pytest.raises(HubError, match="nextPageToken"):
        read_token({"nextPageToken": token}, "the listing")
    assert read_token({"nextPageToken": ""}, "the listing") is None


@pytest.mark.parametrize("metadata", [None, 5, {}, {"tags": None}, {"tags": 5}, {"tags": [[], 1]}, {"tags": "x"}])
def test_entry_of_the_zoo_without_proper_tags_has_none(metadata: object) -> None:
    assert tags_of({"metadata": metadata}) == []


@pytest.mark.parametrize(
    "front", ["x: !!bool foo", 'x: !!int ""', "x: " + ":".join(["1"] * 400) + ".0", "x: 2001-01-01 00:00:00 +99:00"]
)
def test_front_matter_that_the_library_stumbles_over_is_refused_or_read(front: str) -> None:
    try:
        assert read_card(CARD.format(front).encode()).owned == "o/n"
    except HubError as error:
        assert "front matter" in error.message  # noqa: PT017


def test_title_that_is_an_endless_number_is_no_title() -> None:
    assert read_card(CARD.format("title: 0x" + "f" * 5000).encode()).title == ""


def test_link_in_a_circle_does_not_stop_a_listing(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    hub = FolderHub(str(tmp_path))
    [page] = hub.listing(Query(), None)
    hub.close()
    assert len(page.packages) == 1


def test_path_longer_than_any_is_refused_before_it_is_put_together() -> None:
    class Deep:
        @staticmethod
        def read(oid: str, _kind: str, _limit: int = 0) -> bytes:
            return b"40000 " + b"d" * 200 + b"\0" + bytes.fromhex(oid)

    with pytest.raises((IntegrityError, HubError), match=r"path|deeper"):
        list(_walk(Deep(), "a" * 40, {}))  # type: ignore[arg-type]
    assert MAX_PATH_BYTES == 4096


def test_lfs_object_of_another_size_is_an_error_of_that_object() -> None:
    row = msgspec.convert({"oid": "a" * 64, "size": 4, "actions": {"download": {"href": "https://h/o"}}}, _Object)
    answer = _check_answer(LfsObject(oid="a" * 64, size=5), row, "https://h")
    assert isinstance(answer, HubError)
    assert "the pointer states 5 bytes, the server 4" in answer.message


@pytest.mark.parametrize(
    "text",
    [
        "All rights reserved. No redistribution. Contact MIT CSAIL.",
        "This model is NOT under the MIT license.",
        "CC BY-NC 4.0 for the weights; the training code alone is Apache 2",
        "Apache License 2.0 for the code, the weights are for research only",
        "see the licence of MIT",
        "MIT or whatever else",
    ],
)
def test_text_that_only_mentions_a_licence_names_none(text: str) -> None:
    assert name_licence(text) is None
    assert name_licence(text + " " * 200 + "x" * 200) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Apache 2.0", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("Licensed under the Apache License 2.0.", "apache-2.0"),
        ("Apache License v2.0", "apache-2.0"),
        ("MIT", "mit"),
        ("MIT License", "mit"),
        ("BSD 3-Clause", "bsd-3-clause"),
        ("3-Clause BSD License", "bsd-3-clause"),
        (
            "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining\na copy " + "x" * 99,
            "mit",
        ),
        ("Apache License\n                           Version 2.0, January 2004\n" + "x" * 99, "apache-2.0"),
    ],
)
def test_text_that_is_a_licence_names_it(text: str, name: str) -> None:
    assert name_licence(text) == name


def test_git_with_a_login_follows_no_redirect_to_another_host() -> None:
    seen: list[dict[str, str]] = []

    def other(asked: object) -> Reply:
        seen.append(dict(asked.headers))  # type: ignore[attr-defined]
        return Reply(404)

    with (
        serving(other) as foreign,
        serving(lambda asked: Reply(302, headers={"Location": f"{foreign.base}{asked.path}"})) as hub,
    ):
        git = Git({"PATH": "/usr/bin:/bin"}, credentials={f"{hub.base}/": "Basic c2VjcmV0"})
        with pytest.raises(HubError):
            git.head(f"{hub.base}/a/b", "`git:x`")
    assert seen == []


def test_git_is_allowed_no_more_than_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr("ptmtorrent.hubs.git.process.resource.getrlimit", lambda _what: (1 << 20, 1 << 26))
    monkeypatch.setattr(
        "ptmtorrent.hubs.git.process.resource.prlimit", lambda _pid, _what, limits: given.append(limits)
    )
    Git({"PATH": "/usr/bin:/bin"}).run(["version"], "git")
    assert given == [(1 << 26, 1 << 26)] * 2


def test_end_of_git_is_the_end_of_what_it_started() -> None:
    process = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, process_group=0)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    end(process)
    process.wait()
    process.stdout.close()
    until = clock.monotonic() + 5
    while Path(f"/proc/{child}").exists() and "Z" not in _state(child) and clock.monotonic() < until:
        clock.sleep(0.05)
    assert not Path(f"/proc/{child}").exists() or "Z" in _state(child)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_git_that_complains_without_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ptmtorrent.hubs.git.process.MAX_OUTPUT_BYTES", 1000)
    fake = tmp_path / "git"
    fake.write_text("#!/bin/sh\nwhile :; do echo complaint >&2; done\n")
    fake.chmod(0o755)
    with pytest.raises(HubError, match="ran too long or printed too much"):
        Git({"PATH": f"{tmp_path}:/usr/bin:/bin"}).run(["ls-remote"], "`git:x`")
