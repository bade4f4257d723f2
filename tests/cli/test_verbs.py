"""Every verb, on the sample hub: what it prints and how it ends. One maintainer's home serves all tests."""

import io
import json
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ptmtorrent.cli import main as program
from ptmtorrent.demo.package import Package, text_file
from ptmtorrent.demo.packages import sample_packages
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.manifest import Manifest
from ptmtorrent.store.store import Store
from ptmtorrent.workflows import export as exporting
from tests.in_process import run_verb
from tests.simulators.huggingface import OddHub


def run(home: Path, *arguments: object, code: int = 0) -> list[dict[str, Any]]:
    """Run a verb in this process with `--format json`; check its exit code and return the lines it printed."""
    out, talk = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(talk):
        ended = program.run(["--home", str(home), "--format", "json", *map(str, arguments)])
    assert ended == code, out.getvalue()[-2000:] + talk.getvalue()[-2000:]
    return [json.loads(line) for line in out.getvalue().splitlines()]


def of_type(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["type"] == kind]


@dataclass(frozen=True)
class Maintainer:
    home: Path
    channel: Path
    cloned: list[dict[str, Any]]
    released: list[dict[str, Any]]
    fingerprint: str


@pytest.fixture(scope="module")
def maintainer(tmp_path_factory: pytest.TempPathFactory) -> Maintainer:
    """A home with the sample hub cloned, released as `r1` and published."""
    home = tmp_path_factory.mktemp("maintainer") / "home"
    channel = home.parent / "channel"
    with SampleHub(sample_packages()) as hub:
        cloned = run(home, "clone", "huggingface", "--endpoint", hub.endpoint, code=3)
    run(home, "keys", "init", "--no-passphrase")
    released = run(home, "release", "r1", "--include", "restricted", "--include", "unknown")
    run(home, "publish", "r1", "--to", channel)
    fingerprint = run(home, "keys", "show", "--fingerprint")[0]["fingerprint"]
    return Maintainer(home, channel, cloned, released, fingerprint)


@pytest.fixture
def reader(maintainer: Maintainer, tmp_path: Path) -> Path:
    """A home that trusts the maintainer's channel, and nothing else."""
    home = tmp_path / "reader"
    run(home, "trust", "add", maintainer.channel, "--fingerprint", maintainer.fingerprint)
    return home


def test_a_clone_that_lacks_a_gated_package_says_so_and_ends_with_3(maintainer: Maintainer) -> None:
    results = of_type(maintainer.cloned, "result")
    assert [line["id"] for line in results if line["status"] == "impossible"] == ["hf:guarded/herd-8k"]
    assert of_type(maintainer.cloned, "summary")[0]["failed"] == 1
    assert maintainer.cloned[-1]["type"] == "error"
    assert maintainer.cloned[-1]["code"] == 3


def test_a_release_prints_its_content_root(maintainer: Maintainer) -> None:
    (row,) = of_type(maintainer.released, "release")
    assert row["name"] == "r1"
    assert row["content_root"].startswith("b3:")
    assert 0 < row["stored"] < row["bytes"]


def test_a_release_name_is_taken_once(maintainer: Maintainer) -> None:
    assert run(maintainer.home, "release", "r1", code=2)[-1]["code"] == 2


def test_a_finished_release_that_is_made_again_says_so(maintainer: Maintainer) -> None:
    again = run(maintainer.home, "release", "r1", "--include", "restricted", "--include", "unknown")
    assert [each["content_root"] for each in of_type(again, "release")] == [
        each["content_root"] for each in of_type(maintainer.released, "release")
    ]
    assert any("has not changed since" in each["message"] for each in of_type(again, "note"))


def test_a_release_is_planned_and_made_by_its_policy_and_published_with_it(tmp_path: Path) -> None:
    home, policy = tmp_path / "home", tmp_path / "policy.toml"
    for name in ("a", "b"):
        (tmp_path / "zoo" / name).mkdir(parents=True)
        (tmp_path / "zoo" / name / "LICENSE").write_text("MIT License")
    run(home, "clone", "dir", "--endpoint", tmp_path / "zoo")
    run(home, "keys", "init", "--no-passphrase")
    policy.write_text("exclude = ['dir:a']\n")
    refused = run(home, "release", "r1", "--policy", policy, code=10)[-1]
    assert str(policy) in refused["message"]
    policy.write_text("[exclude]\n'dir:a' = 'not finished'\n")

    planned = run(home, "release", "r1", "--policy", policy, "--dry-run")
    assert not (home / "channel").exists()
    made = run(home, "release", "r1", "--policy", policy)
    run(home, "publish", "r1", "--to", tmp_path / "channel")

    for events in (planned, made):
        [left_out] = of_type(events, "result")
        assert (left_out["id"], left_out["reason"]) == ("dir:a", "the policy excludes it: not finished")
        assert of_type(events, "summary")[0]["packages"] == 1
    assert b"not finished" in (tmp_path / "channel" / "releases" / "r1" / "policy.json").read_bytes()


def test_keys_are_never_overwritten(maintainer: Maintainer) -> None:
    assert run(maintainer.home, "keys", "init", "--no-passphrase", code=10)[-1]["code"] == 10


def test_keys_without_a_terminal_to_prompt_for_a_passphrase_are_10(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    error = run(tmp_path / "home", "keys", "init", code=10)[-1]
    assert "PTMTORRENT_KEY_PASSPHRASE" in error["hint"]


def test_keys_with_a_passphrase_need_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("PTMTORRENT_KEY_PASSPHRASE", "word")
    run(home, "keys", "init")
    monkeypatch.setenv("PTMTORRENT_KEY_PASSPHRASE", "another")
    assert run(home, "release", "r1", code=10)[-1]["code"] == 10


def test_a_channel_is_trusted_by_its_fingerprint_only(maintainer: Maintainer, tmp_path: Path) -> None:
    home = tmp_path / "stranger"
    assert "trust add" in run(home, "list", "--channel", maintainer.channel, code=60)[-1]["hint"]
    wrong = "b3:" + "0" * 64
    run(home, "trust", "add", maintainer.channel, "--fingerprint", wrong, code=60)
    run(home, "trust", "add", maintainer.channel, "--fingerprint", "b3:0", code=2)
    assert run(home, "trust", "show") == []


def test_trusted_channels_are_shown(maintainer: Maintainer, reader: Path) -> None:
    row = {"type": "channel", "channel": str(maintainer.channel), "fingerprint": maintainer.fingerprint}
    [shown] = run(reader, "trust", "show")
    assert {key: shown[key] for key in row} == row
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown["root_expires"])
    assert "timestamp_expires" in shown


def test_list_shows_packages_and_those_of_a_subset(maintainer: Maintainer, reader: Path) -> None:
    everything = of_type(run(reader, "list", "--channel", maintainer.channel), "package")
    popular = of_type(run(reader, "list", "--channel", maintainer.channel, "--subset", "popular"), "package")
    assert len(everything) == len(sample_packages()) - 1
    assert {line["package"] for line in popular} < {line["package"] for line in everything}
    assert all(line["downloads"] > 50 for line in popular)


def test_subsets_are_listed_with_their_bytes(maintainer: Maintainer, reader: Path) -> None:
    listed = of_type(run(reader, "subsets", "--channel", maintainer.channel), "subset")
    rows = {row["subset"]: row for row in listed}
    assert rows.keys() == {"all", "metadata", "popular"}
    assert rows["metadata"]["bytes"] < rows["popular"]["bytes"] < rows["all"]["bytes"]


def test_show_prints_a_package_and_its_files(maintainer: Maintainer, reader: Path) -> None:
    _, package, *files = run(reader, "show", "hf:world/names", "--channel", maintainer.channel)
    assert package["package"] == "hf:world/names"
    assert package["files"] == len(files)
    assert sum(file["bytes"] for file in files) == package["bytes"]
    assert {file["type"] for file in files} == {"file"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "hf:world/nmes"], "hf:world/names"),
        (["list", "--subset", "populer"], "popular"),
        (["list", "--release", "r2"], "r1"),
        (["fetch", "hf:world/nmes"], "hf:world/names"),
        (["fetch", "--subset", "populer"], "popular"),
    ],
)
def test_what_is_not_there_is_12_and_near_matches_are_named(
    maintainer: Maintainer, reader: Path, arguments: list[str], words: str
) -> None:
    error = run(reader, *arguments, "--channel", maintainer.channel, code=12)[-1]
    assert words in f"{error['message']} {error['hint']}"


def test_a_channel_that_is_not_there_is_12(reader: Path, tmp_path: Path) -> None:
    assert run(reader, "list", "--channel", tmp_path / "nowhere", code=12)[-1]["code"] == 12


def test_fetch_says_where_each_package_went_and_moves_nothing_twice(
    maintainer: Maintainer, reader: Path, tmp_path: Path
) -> None:
    wanted = ("fetch", "--subset", "popular", "--channel", maintainer.channel, "--to", tmp_path / "out")
    first, second = run(reader, *wanted), run(reader, *wanted)
    results = of_type(first, "result")
    assert len(results) == of_type(first, "summary")[0]["packages"]
    assert all(Path(line["path"]).is_dir() for line in results)
    assert of_type(second, "summary")[0]["bytes_moved"] == 0


def test_a_dry_run_prints_a_plan_and_writes_nothing(maintainer: Maintainer, reader: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lines = run(reader, "fetch", "--subset", "all", "--channel", maintainer.channel, "--to", out, "--dry-run")
    assert of_type(lines, "plan")[0]["bytes_to_move"] > 0
    assert not out.exists() or not any(out.iterdir())


def test_verify_names_the_damaged_file_and_fetch_replaces_it(
    maintainer: Maintainer, reader: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    wanted = ("fetch", "hf:world/names", "--channel", maintainer.channel, "--to", out)
    run(reader, *wanted)
    victim = next(out.rglob("*.safetensors"))
    found = victim.stat()
    data = bytearray(victim.read_bytes())
    data[100] ^= 1
    victim.write_bytes(data)
    os.utime(victim, ns=(found.st_atime_ns, found.st_mtime_ns))

    damaged = run(reader, "verify", out, code=50)
    run(reader, *wanted)

    assert str(victim) in of_type(damaged, "result")[0]["reason"]
    assert damaged[-1]["code"] == 50
    assert of_type(run(reader, "verify", "hf:world/names"), "summary")[0]["failed"] == 0


@pytest.mark.parametrize(
    "verb", [("list",), ("show", "hf:world/names"), ("subsets",), ("releases",), ("fetch", "hf:world/names")]
)
def test_consumer_verbs_say_first_which_release_they_read(
    maintainer: Maintainer, reader: Path, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    to = ("--to", tmp_path / "out") if verb[0] == "fetch" else ()
    [opened] = of_type(run(reader, *verb, "--channel", maintainer.channel, *to), "opened")
    [released] = of_type(maintainer.released, "release")
    assert opened["release"] == released["name"]
    assert opened["content_root"] == f"b3:{released['content_root'].removeprefix('b3:')}"
    assert opened["created"][:2] == "20"
    if verb[0] == "fetch":
        [again] = of_type(run(reader, "verify", tmp_path / "out"), "opened")
        assert again == opened


def test_which_release_is_read_is_one_line_for_people(maintainer: Maintainer, reader: Path) -> None:
    arguments = ["--home", str(reader), "--format", "human", "list", "--channel", str(maintainer.channel)]
    code, out, err = run_verb(*arguments, cwd=reader.parent)
    [released] = of_type(maintainer.released, "release")
    root = f"b3:{released['content_root'].removeprefix('b3:')}"
    assert (code, root in out) == (0, False)
    [line] = [line for line in err.splitlines() if root in line]
    assert line.startswith(f"release {released['name']} of 20")


def test_verify_of_a_place_nothing_was_laid_out_at_is_12(reader: Path, tmp_path: Path) -> None:
    assert run(reader, "verify", tmp_path, code=12)[-1]["code"] == 12
    assert of_type(run(reader, "verify"), "summary")[0]["packages"] == 0


def test_verify_finds_a_flipped_byte_of_a_pack(maintainer: Maintainer) -> None:
    pack = next((maintainer.home / "store").rglob("*.pack"))
    sound = of_type(run(maintainer.home, "verify", "--store"), "result")
    good = pack.read_bytes()
    mode = pack.stat().st_mode
    pack.chmod(0o644)
    try:
        pack.write_bytes(bytes([good[0] ^ 1]) + good[1:])
        damaged = of_type(run(maintainer.home, "verify", "--store", code=50), "result")
    finally:
        pack.write_bytes(good)
        pack.chmod(mode)
    assert {line["status"] for line in sound} == {"ok"}
    assert [line["id"] for line in damaged if line["status"] == "error"] == [pack.stem]


def test_status_counts_what_the_home_holds(maintainer: Maintainer, tmp_path: Path) -> None:
    held = {row["what"]: row["value"] for row in run(maintainer.home, "status")}
    empty = {row["what"]: row["value"] for row in run(tmp_path / "empty", "status")}
    assert held["packages"] == len(sample_packages()) - 1
    assert held["packs"] > 0
    assert held["releases"] == "r1"
    assert empty["packages"] == 0
    assert not (tmp_path / "empty").exists()


def test_doctor_finds_every_library(tmp_path: Path) -> None:
    checks = {row["check"]: row["ok"] for row in run(tmp_path / "home", "doctor")}
    assert checks["libtorrent"]
    assert all(checks.values())


def test_what_a_hub_took_back_is_shown_by_clone_status_and_list(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with OddHub([sample_package("a/x"), sample_package("a/y"), sample_package("a/z")]) as hub:
        clone = ("clone", "huggingface", "--endpoint", hub.endpoint)
        run(home, *clone)
        hub.withdraw("a/x")
        hub.withdraw("a/y")
        hub.add(sample_package("a/y", registration="second"))
        [summary] = of_type(run(home, *clone), "summary")
    run(home, "keys", "init", "--no-passphrase")
    run(home, "release", "r1")
    fingerprint = run(home, "keys", "show", "--fingerprint")[0]["fingerprint"]
    run(home, "trust", "add", home / "channel", "--fingerprint", fingerprint)
    status = {row["what"]: row["value"] for row in run(home, "status")}
    listed = {
        row["package"]: row["flags"] for row in of_type(run(home, "list", "--channel", home / "channel"), "package")
    }

    assert summary["flagged"] == {"withdrawn": 1, "registered-again": 1}
    assert (status["packages"], status["withdrawn"], status["registered-again"]) == (3, 1, 1)
    assert status["hf:a/x"].startswith("withdrawn since ")
    assert listed == {"hf:a/x": "withdrawn", "hf:a/y": "registered-again", "hf:a/z": None}


def sample_package(name: str, registration: str = "") -> Package:
    text = text_file("README.md", f"{name} {registration}")
    return Package(name=name, files=(text,), licence="mit", registration=registration)


def test_export_writes_every_captured_package_with_its_owner_and_commit(maintainer: Maintainer, tmp_path: Path) -> None:
    (row,) = of_type(run(maintainer.home, "export", "ptmtorrent-json", "--to", tmp_path), "export")
    uniforms = json.loads((tmp_path / "ptmtorrent.json").read_bytes())
    owns = json.loads((tmp_path / "metadata/hf.json").read_bytes())
    assert row["packages"] == len(uniforms) == len(owns) > 10
    assert row["failed"] == 0
    assert all(len(each["LatestGitCommitSHA"]) == 40 for each in uniforms)
    assert [owns[each["ModelHub"]["MetadataObjectID"]]["id"] for each in uniforms] == [
        each["ModelName"] for each in uniforms
    ]


def test_export_without_some_packages_names_them_and_is_no_success(
    maintainer: Maintainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, failing = exporting._read, []

    def fail_once(store: Store, manifest: Manifest) -> bytes:
        if not failing:
            failing.append(manifest.package.package)
            raise IntegrityError("damaged")
        return read(store, manifest)

    monkeypatch.setattr(exporting, "_read", fail_once)
    lines = run(maintainer.home, "export", "ptmtorrent-json", "--to", tmp_path, code=3)
    assert [line["id"] for line in of_type(lines, "result")] == failing
    (row,) = of_type(lines, "export")
    assert (row["failed"], row["packages"]) == (1, len(json.loads((tmp_path / "ptmtorrent.json").read_bytes())))
