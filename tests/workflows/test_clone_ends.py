"""How a clone ends: its exit code, what it says to do next, and what it refuses before bytes move."""

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ptmtorrent.cli._session import Session
from ptmtorrent.demo.hub.faults import Faults
from ptmtorrent.demo.package import Package, data_file
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.errors import Interrupted, NoSpace, PartialFailure
from ptmtorrent.paths import Home
from ptmtorrent.state.clone_journal import COMMIT_BYTES
from ptmtorrent.stop import ANEW_HINT, RESUME_HINT
from ptmtorrent.workflows.clone.clone import CloneRequest
from tests.in_process import ptmtorrent
from tests.simulators.huggingface import OddHub, refuse
from tests.workflows.cloning import WEIGHTS, Run, package

DRY = CloneRequest(dry_run=True)


def ended(home: Path, code: int, hub: SampleHub, *arguments: str) -> dict[str, Any]:
    """Run a clone that ends with `code`; return the last event."""
    return ptmtorrent(home, "clone", "huggingface", "--endpoint", hub.endpoint, *arguments, code=code)[-1]


def limit_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--dry-run", "--exact")], ids=" ".join)
def test_one_missing_package_ends_as_its_fetch_does(tmp_path: Path, more: tuple[str, ...]) -> None:
    home = tmp_path / "home"
    with SampleHub([package("a/x"), package("a/y")]) as hub:
        one = ended(home, 12, hub, "--id", "a/none", *more)
        several = ended(home, 3, hub, "--id", "a/none", "--id", "a/x", *more)
        ended(home, 3, hub, "--id", "a/none", "--id", "a/never", *more)

    assert one == {"type": "error", "code": 12, "message": "`hf:a/none` was not found on the hub", "hint": None}
    assert several["hint"] is None


@pytest.mark.parametrize(
    ("kind", "endpoint"),
    [
        ("git", "http://127.0.0.1:9"),
        ("dir", ""),
    ],
)
def test_one_missing_package_of_a_folder_or_a_remote_is_not_found(tmp_path: Path, kind: str, endpoint: str) -> None:
    (tmp_path / "models" / "m").mkdir(parents=True)
    (tmp_path / "models" / "m" / "a").write_bytes(b"a")
    if kind == "git":
        identifier = f"file://{tmp_path}/nothing.git"
        arguments = ["--endpoint", endpoint, "--id", identifier]
    else:
        arguments = ["--endpoint", str(tmp_path / "models"), "--id", "nothing"]
    assert ptmtorrent(tmp_path / "home", "clone", kind, *arguments, code=12)[-1]["code"] == 12


def test_retry_is_suggested_only_where_it_can_help(run: Run, tmp_path: Path) -> None:
    closed = Package(name="a/closed", files=(data_file("f", b"1"),), access="gated")
    with SampleHub([package("a/x"), closed], faults=Faults(vanished=frozenset({"a/x"}))) as hub:
        never = ended(tmp_path / "home", 3, hub)
    with OddHub([package("a/x"), package("a/y")]) as odd:
        odd.order(refuse(503), path="/tree/", times=None)
        later = run(odd)

    assert (never["message"], never["hint"]) == ("2 of 2 packages failed (see above)", None)
    assert (later.failed, later.retryable) == (2, 2)
    with pytest.raises(PartialFailure) as raised:
        Session("quiet").finish(later)
    assert raised.value.hint == "run the same command again to retry what failed"


@pytest.mark.parametrize(
    ("request_", "hint"),
    [(CloneRequest(), RESUME_HINT), (DRY, ANEW_HINT), (msgspec.structs.replace(DRY, exact=True), ANEW_HINT)],
)
def test_only_what_is_kept_is_resumed(run: Run, request_: CloneRequest, hint: str) -> None:
    with SampleHub([package("a/x")]) as hub:
        run.stop.set()
        with pytest.raises(Interrupted) as raised:
            run(hub, request_)

    assert raised.value.hint == hint


def test_plan_that_does_not_fit_is_refused_before_bytes_move(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with SampleHub([package("a/x", data_file("model.bin", WEIGHTS))]) as hub:
        limit_disk(monkeypatch, 2 * len(WEIGHTS) - 1)
        with pytest.raises(NoSpace, match=rf"^{2 * len(WEIGHTS)} bytes are needed .*, and {2 * len(WEIGHTS) - 1} are"):
            run(hub)
        assert hub.log.sent("/resolve/") == 0
        assert hub.log.exchanges("lfs") == []

        limit_disk(monkeypatch, 2 * len(WEIGHTS))
        assert run(hub).failed == 0


def test_what_is_here_already_needs_no_space(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    files = (data_file("model.bin", WEIGHTS),)
    with SampleHub([package("a/x", *files)]) as hub:
        run(hub)
    with SampleHub([package("a/y", *files)]) as hub:
        limit_disk(monkeypatch, 0)
        assert run(hub).failed == 0


def test_parts_in_the_spool_are_counted_once(run: Run) -> None:
    with OddHub([package("a/x", data_file("model.bin", WEIGHTS))]) as hub:
        run(hub, CloneRequest(dry_run=True, exact=True))
        fresh = run.plan()
        _leave_part(run.home, 150_000)
        run(hub, CloneRequest(dry_run=True, exact=True))

    assert fresh.disk == 2 * len(WEIGHTS) < COMMIT_BYTES
    assert (run.plan().bytes_to_move, run.plan().disk) == (len(WEIGHTS) - 150_000, fresh.disk - 150_000)
    assert run.plan().bytes == fresh.bytes


def _leave_part(home: Home, size: int) -> None:
    home.spool.mkdir(parents=True)
    (home.spool / f"{sha256(WEIGHTS).hexdigest()}-{len(WEIGHTS)}.part").write_bytes(WEIGHTS[:size])
