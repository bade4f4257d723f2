from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import HubError, IntegrityError
from ptmtorrent.hubs.kaggle.adapter import KaggleModels
from ptmtorrent.hubs.kaggle.records import is_name, read_files, read_hash, read_models, spell_framework
from ptmtorrent.model.records import Event, Result
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.clone import CloneRequest, clone
from tests.hubs.conftest import Time
from tests.hubs.kaggle.samples import WEIGHTS_PATH, fill
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
