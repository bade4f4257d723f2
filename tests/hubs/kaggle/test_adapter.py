from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import AuthError, HubError, IntegrityError, NotFound, PtmError
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.kaggle import adapter
from ptmtorrent.hubs.kaggle.adapter import KaggleModels
from ptmtorrent.hubs.kaggle.records import (
    is_name,
    promised,
    read_files,
    read_hash,
    read_instance,
    read_models,
    read_object,
    spell_framework,
)
from ptmtorrent.hubs.port import Described, Listed, Query
from ptmtorrent.model.manifest import Identity
from ptmtorrent.model.records import Event, Result
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.clone import CloneRequest, clone
from tests.hubs.conftest import Time
from tests.hubs.kaggle.samples import WEIGHTS_PATH, fill
from tests.hubs.peer import Peer, Reply, json_reply, serving
from tests.hubs.test_catalogues import failures, stored
from tests.simulators.kaggle import Kaggle, serve_kaggle


@pytest.fixture
def kaggle() -> Iterator[Kaggle]:
    with serve_kaggle() as state:
        fill(state)
        yield state


def run(kaggle: Kaggle, home: Home, time: Time, token: str | None = None) -> list[Event]:
    heard: list[Event] = []
    clone(
        lambda new_session: KaggleModels(kaggle.url, token, new_session(monotonic=time.monotonic, pause=time.pause)),
        CloneRequest(),
        home,
        clock=lambda: datetime(2026, 11, 20, tzinfo=UTC),
        emit=heard.append,
        stop=Stop(),
    )
    return heard


@pytest.mark.parametrize("fault", ["none", "busy", "busy listing", "cut"])
def test_clone_is_complete_whatever_passes(fault: str, kaggle: Kaggle, tmp_path: Path, time: Time) -> None:
    home = Home(tmp_path / "home")
    if fault == "busy":
        kaggle.busy_once[WEIGHTS_PATH] = 9
    if fault == "busy listing":
        kaggle.busy_once["list"] = 9
    if fault == "cut":
        kaggle.cut_once[WEIGHTS_PATH] = 50_000

    heard = run(kaggle, home, time)

    assert failures(heard) == []
    assert stored(home) == kaggle.models
    assert (max(time.waits, default=0) >= 9) == fault.startswith("busy")


@pytest.mark.parametrize("fault", ["wrong_bytes", "wrong_length", "login_pages", "loops", "closed"])
def test_file_that_cannot_be_had_fails_its_package_alone_by_name(
    fault: str, kaggle: Kaggle, tmp_path: Path, time: Time
) -> None:
    getattr(kaggle, fault).add("only.bin")

    heard = run(kaggle, Home(tmp_path / "home"), time)

    bad = [event for event in heard if isinstance(event, Result) and event.status != "ok"]
    assert [event.id for event in bad] == ["kaggle:team/big/tfLite/only"]
    assert "only.bin" in bad[0].reason


@pytest.mark.parametrize(("fault", "reason"), [("lost", "gone"), ("closed", "refused")])
def test_file_of_many_that_cannot_be_had_costs_itself_and_its_address_is_named(
    fault: str, reason: str, kaggle: Kaggle, tmp_path: Path, time: Time
) -> None:
    getattr(kaggle, fault).add("variables/variables.index")
    home = Home(tmp_path / "home")

    heard = run(kaggle, home, time)

    why = failures(heard)
    assert len(why) == 3
    assert all(f"`variables/variables.index` ({reason}: " in one for one in why)
    assert all(f"({kaggle.url}/api/v1/models/team/small/tensorFlow2/v-" in one for one in why)
    assert {len(files) for name, files in stored(home).items() if name.startswith("team/small/")} == {3}


def test_model_is_asked_for_by_its_name_alone_with_all_its_variations(kaggle: Kaggle) -> None:
    ids = ("team/small", "team/none", "team/big/tfLite/only")

    with closing(KaggleModels(kaggle.url)) as hub:
        pages = list(hub.listing(Query(ids=ids), None))

    assert [[(one.name, one.access) for one in page.packages] for page in pages] == [
        [(f"team/small/tensorFlow2/v-{index}", "public") for index in range(3)],
        [("team/none", "gone")],
        [("team/big/tfLite/only", "public")],
    ]


def test_token_stays_with_the_hub(kaggle: Kaggle, tmp_path: Path, time: Time) -> None:
    run(kaggle, Home(tmp_path / "home"), time, token="secret")  # noqa: S106

    kept = {path.startswith("/store/"): sent for _, path, sent in kaggle.asked}
    assert kept == {True: None, False: "Bearer secret"}


@pytest.mark.parametrize(
    ("enum", "spelled"),
    [
        ("MODEL_FRAMEWORK_TENSOR_FLOW_2", "tensorFlow2"),
        ("MODEL_FRAMEWORK_TF_LITE", "tfLite"),
        ("MODEL_FRAMEWORK_PY_TORCH", "pyTorch"),
        ("keras", "keras"),
    ],
)
def test_frameworks_are_spelled_as_in_addresses(enum: str, spelled: str) -> None:
    assert spell_framework(enum) == spelled


@pytest.mark.parametrize("header", ["", "md5", "md5=!!", "md5=AAAA", "crc32c=AAAAAA=="])
def test_header_without_md5_promises_nothing(header: str) -> None:
    assert read_hash(header) is None


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", "a\0"])
def test_path_out_of_the_package_is_refused(name: str) -> None:
    with pytest.raises(IntegrityError):
        read_files({"files": [{"name": name, "size": 1}]}, "it")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_keys = ("models", "ref", "instances", "slug", "framework", "versionNumber", "id", "voteCount", "files", "name", "size")
_odd = st.recursive(
    _json, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_keys), inner, max_size=6)
)


@given(st.dictionaries(st.sampled_from(_keys), _odd, max_size=6))
def test_any_answer_is_read_or_refused(answer: dict[str, object]) -> None:
    assert all(is_name(listed.name) for listed in read_models(answer))
    try:
        assert all(path for path, _ in read_files(answer, "it"))
    except (HubError, IntegrityError) as error:
        assert error.message  # noqa: PT017


@pytest.mark.parametrize("body", [b"", b"[]", b"3", b"{", b"[" * 100_000, b"\xff"])
def test_answer_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(HubError, match=r"^it could not be read: "):
        read_object(body, "it")


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"framework":"keras","slug":"../b"}', b'{"framework":"keras","slug":"other"}', b'{"slug":"b"}'],
)
def test_description_of_another_package_is_refused(body: bytes) -> None:
    assert read_instance("o/m/keras/b", b'{"framework":"keras","slug":"b"}', "it").name == "o/m/keras/b"
    with pytest.raises(HubError, match="it describes another package"):
        read_instance("o/m/keras/b", body, "it")


def test_instances_that_are_none_are_left_out() -> None:
    good = {"slug": "b", "framework": "keras", "versionNumber": True}
    models = [None, {"ref": "o/m", "instances": [None, 3, {"slug": ".."}, good]}, {"instances": [good]}]
    [listed] = read_models({"models": models})
    assert (listed.name, listed.author, listed.likes) == ("o/m/keras/b", "o", None)


@pytest.mark.parametrize(
    ("size", "headers", "known"),
    [
        (None, {"content-length": "12"}, 12),
        (7, {"content-length": "12"}, 7),
        (None, {"content-length": "-1"}, None),
        (None, {"content-length": "\u0661"}, None),
        (None, {"content-length": "1" * 17}, None),
        (None, {}, None),
    ],
)
def test_size_that_the_listing_lacks_is_that_of_the_address(
    size: int | None, headers: dict[str, str], known: int | None
) -> None:
    md5 = {"x-goog-hash": "crc32c=AAAAAA==,md5=AAECAwQFBgcICQoLDA0ODw=="}
    file = promised("a", size, {**headers, **md5})
    assert (file.path, file.size, file.oid) == ("a", known, "md5:000102030405060708090a0b0c0d0e0f")


def hub_that_answers(peer: Peer, session: Session) -> KaggleModels:
    return KaggleModels(peer.base, session=session)


@pytest.mark.parametrize(
    ("name", "reply", "access"),
    [
        ("o/m/keras/b", json_reply('{"framework":"keras","slug":"b"}'), "public"),
        ("o/m/keras/b", Reply(404), "gone"),
        ("o/m/keras/b", Reply(403), "private"),
        ("o/m/keras/b", Reply(401), "private"),
        ("o/../keras/b", Reply(500), "gone"),
    ],
)
def test_package_that_is_named_is_public_private_or_gone(
    session: Session, name: str, reply: Reply, access: str
) -> None:
    with serving(lambda _: reply) as peer:
        [page] = hub_that_answers(peer, session).listing(Query(ids=(name,)), None)
    assert [(listed.name, listed.access) for listed in page.packages] == [(name, access)]
    assert page.cursor is None


@pytest.mark.parametrize(
    ("listed", "error", "reason"),
    [
        (Listed(name="n", access="private", commit="1"), AuthError, "`kaggle:n` is private"),
        (Listed(name="n", access="gone", commit="1"), NotFound, "`kaggle:n` was not found on the hub"),
        (Listed(name="n", access="public"), NotFound, "`kaggle:n` has no version"),
    ],
)
def test_package_that_cannot_be_had_is_not_described(
    session: Session, listed: Listed, error: type[PtmError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        KaggleModels("http://host", session=session).describe(listed)


DESCRIBED = Described(
    identity=Identity(hub="kaggle", name="o/m/keras/b", commit="3"), listed=Listed(name="o/m/keras/b"), answers=()
)


def test_listing_that_goes_round_is_ended(session: Session) -> None:
    with serving(lambda _: json_reply('{"models":[],"nextPageToken":"again"}')) as peer:
        pages = hub_that_answers(peer, session).listing(Query(), None)
        assert [next(pages).cursor, next(pages).cursor] == ["again", "again"]
        with pytest.raises(HubError, match=f"the listing of `{peer.base}` does not end"):
            next(pages)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("MAX_PAGES", "the list has more than 3 pages"), ("MAX_REPLY_BYTES", "the list exceeds 3 B")],
)
def test_list_of_files_that_does_not_end_is_refused(
    session: Session, monkeypatch: pytest.MonkeyPatch, limit: str, reason: str
) -> None:
    monkeypatch.setattr(adapter, limit, 3)
    with (
        serving(lambda _: json_reply('{"files":[],"nextPageToken":"more"}')) as peer,
        pytest.raises(HubError, match=f"the files of `kaggle:o/m/keras/b` could not be listed: {reason}"),
    ):
        hub_that_answers(peer, session).files(DESCRIBED)
