"""Clones on a cluster of this machine: Parsl's threads, and its high-throughput executor with workers on loopback."""

import hashlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ptmtorrent.demo.hub.exchange import Request, Response
from ptmtorrent.demo.hub.faults import Faults, Quota
from ptmtorrent.demo.package import Package, data_file, text_file
from ptmtorrent.demo.sample_hub import TOKEN, SampleHub
from ptmtorrent.errors import StoreError
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.clone.cluster.worker import WATCH_SECONDS, WorkUnit, run_unit, without_secrets
from ptmtorrent.workflows.clone.download_queue import collect_parts
from tests.program import DEADLINE_SECONDS, environment, ptmtorrent
from tests.simulators.git_server import serve_git
from tests.simulators.huggingface import OddHub, refuse
from tests.simulators.stormy_hub import StormyHub

WEIGHTS = random.Random(11).randbytes(1 << 20)
COUNT = 24


def packages(count: int = COUNT, size: int = 100_000) -> list[Package]:
    return [
        Package(
            name=f"org/m{at}",
            files=(data_file("model.bin", WEIGHTS[at : at + size]),),
            downloads=100 - at,
            licence="mit",
        )
        for at in range(count)
    ]


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.toml"
    path.write_text('executor = "processes"\nworkers = 2\n')
    return path


def statuses(events: list[dict[str, Any]]) -> dict[str, str]:
    return {event["id"]: event["status"] for event in events if event["type"] == "result"}


def workers(home: Path) -> dict[int, Path]:
    """The processes that work for the home's clone, and their folders of the spool."""
    found = {}
    for lock in (Home(home).spool / "workers").glob("*/lock"):
        text = lock.read_text().split()
        if text:
            found[int(text[0])] = lock.parent
    return found


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_two_workers_capture_everything(tmp_path: Path, cluster: Path, executor: str) -> None:
    cluster.write_text(f'executor = "{executor}"\nworkers = 2\n')
    home = tmp_path / "home"
    with SampleHub(packages()) as hub:
        clone = ("clone", "huggingface", "--endpoint", hub.endpoint, "--cluster", cluster)
        events = ptmtorrent(home, *clone)
        again = ptmtorrent(home, *clone)
    checked = ptmtorrent(home, "verify", "--store")

    assert statuses(events) == {f"hf:org/m{at}": "ok" for at in range(COUNT)}
    assert events[-1]["bytes_moved"] >= COUNT * 100_000
    assert set(statuses(again).values()) == {"notneeded"}
    assert checked[-1]["failed"] == 0
    with Store.open(Home(home).store) as store:
        assert sum(1 for _ in store.captures()) == COUNT
    assert list(Home(home).spool.glob("**/*.part")) == []
    assert not Home(home).cluster.exists()


class HeldHub(SampleHub):
    """A hub that keeps everybody waiting for LFS files until `gate` is set; `waiting` says that somebody does."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.gate, self.waiting = Stop(), Stop()
        super().__init__(*arguments, **options)

    def _answer_lfs(self, request: Request) -> Response:
        self.waiting.set()
        assert self.gate.wait(DEADLINE_SECONDS)
        return super()._answer_lfs(request)

    def __exit__(self, *reason: object) -> None:
        self.gate.set()
        super().__exit__(*reason)


@contextmanager
def cloning(home: Path, hub: SampleHub, cluster: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "ptmtorrent", "--home", str(home), "--format", "json", "clone", "huggingface"]
    command += ["--endpoint", hub.endpoint, "--cluster", str(cluster)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(), cwd=home.parent)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def two_workers(home: Path, hub: HeldHub) -> list[int]:
    """Wait until two workers of the home wait for the hub; return their processes."""
    assert hub.waiting.wait(DEADLINE_SECONDS)
    until = time.monotonic() + DEADLINE_SECONDS
    while len(found := workers(home)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(found) == 2
    return list(found)


def ended(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]]]:
    said, _ = process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode, [json.loads(line) for line in said.splitlines()]


def test_packages_of_a_killed_worker_go_to_another(tmp_path: Path, cluster: Path) -> None:
    home = tmp_path / "home"
    with HeldHub(packages()) as hub, cloning(home, hub, cluster) as process:
        os.kill(two_workers(home, hub)[0], signal.SIGKILL)
        hub.gate.set()
        code, events = ended(process)

    assert (code, statuses(events)) == (0, {f"hf:org/m{at}": "ok" for at in range(COUNT)})
    assert ptmtorrent(home, "verify", "--store")[-1]["failed"] == 0
    assert list(Home(home).spool.glob("**/*.part")) == []
    assert [event["message"] for event in events if "was lost" in str(event.get("message"))]
    assert list(Home(home).cluster.glob("**/*.log")), "the logs are kept"
    assert not list(Home(home).cluster.glob("**/certificates")), "and no keys"


def test_bytes_of_a_dead_worker_are_counted(tmp_path: Path) -> None:
    for name, moved in (("a", "700000"), ("b", "5"), ("c", "no number"), ("d", None)):
        folder = tmp_path / "workers" / name
        folder.mkdir(parents=True)
        if moved is not None:
            (folder / "moved").write_text(moved)

    assert collect_parts(tmp_path) == 700005
    assert list((tmp_path / "workers").iterdir()) == []


def test_parts_of_a_dead_worker_are_gone_on_with(tmp_path: Path, cluster: Path) -> None:
    cluster.write_text('executor = "threads"\nworkers = 2\n')
    left = Home(tmp_path / "home").spool / "workers/dead"
    left.mkdir(parents=True)
    (left / f"{hashlib.sha256(WEIGHTS[:100_000]).hexdigest()}-100000.part").write_bytes(WEIGHTS[:100_000])
    with SampleHub(packages(1)) as hub:
        ptmtorrent(tmp_path / "home", "clone", "huggingface", "--endpoint", hub.endpoint, "--cluster", cluster)
        assert hub.log.exchanges("lfs") == []
    assert not left.exists()


def test_package_that_every_worker_dies_of_is_given_up(tmp_path: Path, cluster: Path) -> None:
    home = tmp_path / "home"
    cluster.write_text('executor = "processes"\nworkers = 1\n')
    killed: set[int] = set()
    with HeldHub(packages(1)) as hub, cloning(home, hub, cluster) as process:
        while process.poll() is None:
            for pid in workers(home).keys() - killed:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.05)
        code, events = ended(process)

    assert len(killed) == 3
    assert (code, statuses(events)) == (3, {"hf:org/m0": "error"})
    assert "3 workers were lost" in next(event["reason"] for event in events if event["type"] == "result")


def test_interrupted_clone_goes_on_without_listing_again(tmp_path: Path, cluster: Path) -> None:
    home = tmp_path / "home"
    with HeldHub(packages()) as hub:
        with cloning(home, hub, cluster) as process:
            two_workers(home, hub)
            process.send_signal(signal.SIGINT)
            hub.gate.set()
            code, _ = ended(process)
        asked = len([each for each in hub.log.exchanges("hub") if each.path.startswith("/api")])
        hub.gate.clear()
        hub.waiting.clear()
        with cloning(home, hub, cluster) as process:
            assert hub.waiting.wait(DEADLINE_SECONDS)
            time.sleep(3 * WATCH_SECONDS)
            hub.gate.set()
            again_code, events = ended(process)
        again = [each.path for each in hub.log.exchanges("hub") if each.path.startswith("/api")][asked:]

    assert (code, again_code, again) == (130, 0, [])
    assert (events[-1]["packages"], events[-1]["failed"]) == (COUNT, 0)
    assert ptmtorrent(home, "verify", "--store")[-1]["failed"] == 0


def test_workers_of_a_killed_coordinator_end_and_the_clone_goes_on(tmp_path: Path, cluster: Path) -> None:
    home = tmp_path / "home"
    with HeldHub(packages()) as hub:
        with cloning(home, hub, cluster) as process:
            orphans = two_workers(home, hub)
            process.kill()
        hub.gate.set()
        # Without a cluster: the orphans may still be there.
        events = ptmtorrent(home, "clone", "huggingface", "--endpoint", hub.endpoint)

    assert (events[-1]["packages"], events[-1]["failed"]) == (COUNT, 0)
    until = time.monotonic() + DEADLINE_SECONDS
    while (left := [pid for pid in orphans if Path(f"/proc/{pid}").exists()]) and time.monotonic() < until:
        time.sleep(0.2)
    assert left == []
    assert ptmtorrent(home, "verify", "--store")[-1]["failed"] == 0


def test_workers_together_keep_within_the_quota(tmp_path: Path, cluster: Path) -> None:
    cluster.write_text('executor = "threads"\nworkers = 4\n')
    quota = Quota(api=1000, resolvers=16, window_seconds=3)
    calm = {"storm": 10_000, "silence": 10_000, "cuts": 10_000}
    with StormyHub(packages(48, 1000), quota, seed=5, monotonic=time.monotonic, **calm) as hub:
        clone = ("clone", "huggingface", "--endpoint", hub.endpoint, "--cluster", cluster, "--max-memory", "1GiB")
        events = ptmtorrent(tmp_path / "home", *clone)

    assert (events[-1]["packages"], events[-1]["failed"]) == (48, 0)
    assert hub.over_quota == 0
    assert hub.fullest > 0.5


def test_failures_are_records_as_without_a_cluster(tmp_path: Path, cluster: Path) -> None:
    cluster.write_text('executor = "threads"\nworkers = 2\n')
    with SampleHub(packages(3), faults=Faults(serve_pointer=frozenset({"model.bin"}))) as hub:
        clone = ("clone", "huggingface", "--endpoint", hub.endpoint, "--cluster", cluster)
        events = ptmtorrent(tmp_path / "home", *clone, code=3)

    reasons = [event["reason"] for event in events if event["type"] == "result"]
    assert len(reasons) == 3
    assert all("pointer" in reason and "model.bin" in reason for reason in reasons)


def test_a_file_that_a_worker_cannot_have_costs_its_entry_alone(tmp_path: Path, cluster: Path) -> None:
    cluster.write_text('executor = "threads"\nworkers = 2\n')
    card = text_file("README.md", "# x")
    lacking = Package(name="org/x", files=(card, data_file("model.bin", WEIGHTS)), downloads=9, licence="mit")
    with OddHub([lacking, *packages(2)]) as hub:
        hub.order(refuse(404), path="org/x/resolve/[^/]*/model.bin", times=None)
        clone = ("clone", "huggingface", "--endpoint", hub.endpoint, "--cluster", cluster)
        events = ptmtorrent(tmp_path / "home", *clone, code=3)

    with Store.open(Home(tmp_path / "home").store) as store:
        lost = {capture.package: capture.missing for capture in store.captures()}
    assert statuses(events) == {"hf:org/x": "error", "hf:org/m0": "ok", "hf:org/m1": "ok"}
    assert lost == {"hf:org/x": 1, "hf:org/m0": 0, "hf:org/m1": 0}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("workers = 2", "executor"),
        ('executor = "ray"\nworkers = 2', "ray"),
        ('executor = "threads"\nworkers = 0', "workers"),
        ('executor = "threads"\nworkers = 2\nwokers = 3', "wokers"),
        ('executor = "slurm"\nworkers = 2\n[slurm]\noptions = ["a\\nb"]', "slurm.options"),
        ('executor = "slurm"\nworkers = 2\n[slurm]\npartition = "a b"', "`slurm.partition` has an invalid value"),
        ('executor = "threads"\nworkers = 2\n[slurm]\npartition = "a"', "do not apply to `threads`"),
        ('executor = "threads"\nworkers = 65', "workers"),
        ("executor =", "Invalid value"),
    ],
)
def test_file_that_describes_no_cluster_is_refused(tmp_path: Path, cluster: Path, text: str, named: str) -> None:
    cluster.write_text(text)
    events = ptmtorrent(tmp_path / "home", "clone", "huggingface", "--cluster", cluster, code=10)
    assert str(cluster) in events[-1]["message"]
    assert named in events[-1]["message"]


def test_missing_file_and_missing_library_are_said(tmp_path: Path, cluster: Path) -> None:
    gone = ptmtorrent(tmp_path / "home", "clone", "huggingface", "--cluster", tmp_path / "no.toml", code=10)
    assert "no.toml" in gone[-1]["message"]

    (tmp_path / "parsl.py").write_text("raise ImportError")
    with SampleHub(packages(1)) as hub:
        clone = ("clone", "huggingface", "--endpoint", hub.endpoint, "--cluster", cluster)
        without = ptmtorrent(tmp_path / "home", *clone, code=10, env=environment(PYTHONPATH=str(tmp_path)))
    assert "pip install '.[cluster]'" in without[-1]["hint"]


def test_token_comes_from_the_environment_of_each_worker_and_is_written_nowhere(tmp_path: Path, cluster: Path) -> None:
    home = tmp_path / "home"
    gated = msgspec.structs.replace(packages(1)[0], access="gated")
    with SampleHub([gated]) as hub:
        clone = ("clone", "huggingface", "--id", "org/m0", "--endpoint", hub.endpoint, "--cluster", cluster)
        events = ptmtorrent(home, *clone, env=environment(HF_TOKEN=TOKEN))

    assert statuses(events) == {"hf:org/m0": "ok"}
    assert [path for path in home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()] == []


def test_units_carry_no_secret(tmp_path: Path) -> None:
    options = HubOptions(endpoint="https://h", work=tmp_path, environment={"A": "hf_xyz"}, tokens={"hf": "hf_xyz"})
    assert b"hf_xyz" not in pickle.dumps(without_secrets(options))


def test_threads_that_would_have_too_little_memory_are_refused_before_anything_is_asked(
    tmp_path: Path, cluster: Path
) -> None:
    cluster.write_text('executor = "threads"\nworkers = 3\n')
    with SampleHub(packages(1)) as hub:
        clone = ("clone", "huggingface", "--endpoint", hub.endpoint, "--cluster", cluster)
        said = ptmtorrent(tmp_path / "home", *clone, code=2)
        assert hub.log.exchanges() == []
    assert "--max-memory 768MiB" in said[-1]["hint"]


def test_end_of_the_interchange_is_an_error_and_the_clone_goes_on_later(tmp_path: Path, cluster: Path) -> None:
    home = tmp_path / "home"
    with HeldHub(packages()) as hub:
        with cloning(home, hub, cluster) as process:
            two_workers(home, hub)
            [interchange] = children(process.pid, "interchange")
            os.kill(interchange, signal.SIGKILL)
            hub.gate.set()
            code, events = ended(process)
        again = ptmtorrent(home, "clone", "huggingface", "--endpoint", hub.endpoint)

    assert code == 10
    assert "forwards work to the cluster" in events[-1]["message"]
    assert (again[-1]["packages"], again[-1]["failed"]) == (COUNT, 0)


def test_loss_of_all_processes_at_once_is_survived(tmp_path: Path, cluster: Path) -> None:
    home = tmp_path / "home"
    with HeldHub(packages()) as hub, cloning(home, hub, cluster) as process:
        found = two_workers(home, hub)
        groups = {os.getpgid(pid) for pid in found}
        for pid in found:
            os.kill(_parent(pid), signal.SIGKILL)
        hub.gate.set()
        code, events = ended(process)
    for group in groups - {os.getpgrp()}:  # what a pool started beside its workers outlives it
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)

    assert (code, statuses(events)) == (0, {f"hf:org/m{at}": "ok" for at in range(COUNT)})


def test_store_that_a_worker_cannot_open_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Store:
        raise StoreError("`store` cannot be locked: Function not implemented")

    monkeypatch.setattr(Store, "open", refuse)
    unit = WorkUnit(
        home=tmp_path,
        hub="huggingface",
        options=HubOptions(endpoint="http://127.0.0.1:9", work=tmp_path),
        known=(),
        listed="2026-11-20T12:00:00Z",
        works=(),
        jobs=1,
        max_memory=1 << 28,
        share=1,
    )
    for _ in range(2):
        report = run_unit(unit)
        assert report.error is not None
        assert "cannot be locked" in report.error.message


def test_git_clones_of_planning_go_when_workers_are_done(tmp_path: Path, cluster: Path) -> None:
    cluster.write_text('executor = "threads"\nworkers = 2\n')
    (tmp_path / "served").mkdir()
    with serve_git(tmp_path / "served") as git:
        git.commit("team/small", {"README.md": b"small"})
        remote = git.remote("team/small")
        ptmtorrent(tmp_path / "home", "clone", "git", "--id", remote, "--cluster", cluster)
    assert list((tmp_path / "home/hubs/git").glob("*.git")) == []


def children(pid: int, name: str) -> list[int]:
    """The children of a process that are called so."""
    return [
        int(place.name)
        for place in Path("/proc").iterdir()
        if place.name.isdigit() and _parent(int(place.name)) == pid and name in _command(place)
    ]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _command(place: Path) -> str:
    try:
        return (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
