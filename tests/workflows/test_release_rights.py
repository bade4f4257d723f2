import os
import random
from pathlib import Path

import pytest

from ptmtorrent.catalogue.query import read_packages
from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.channel.readers import read_listed
from ptmtorrent.errors import ConfigError, NotFound
from ptmtorrent.facts.licences import RightsClass
from ptmtorrent.model.ids import PackageName, ReleaseName, SnapshotId
from ptmtorrent.model.policy import MAX_POLICY_BYTES, Policy, decode_policy
from ptmtorrent.model.records import Note, Result, Summary
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.state.upstream_flags import Flag, FlagName, Flags
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.pack.reader import open_pack
from ptmtorrent.trust.keys import Keys
from ptmtorrent.workflows.release.dry_run import NOT_READ, plan_release
from ptmtorrent.workflows.release.policy import read_policy
from ptmtorrent.workflows.release.release import release
from tests.deadline import deadline
from tests.model.generated import new_capture
from tests.workflows.captured import Listener, TickingClock, capture, new_home, policy_file, writing

FIRST = ReleaseName("r1")
SECOND = ReleaseName("r2")
THIRD = ReleaseName("r3")


def _home(tmp_path: Path, *packages: tuple[str, str, str | None]) -> tuple[Listener, tuple[Home, Keys]]:
    home, keys = new_home(tmp_path / "home")
    with writing(home) as store:
        for name, rights, licence in packages:
            capture(store, tmp_path, f"hf:{name}", {"config.json": name.encode()}, rights=rights, licence=licence)
    return Listener(), (home, keys)


MIXED = (
    ("a/open", "open", "mit"),
    ("a/nc", "restricted", "cc-by-nc-4.0"),
    ("a/none", "restricted", None),
    ("a/gate", "gated", "mit"),
    ("a/was", "restricted", "mit"),
)


def test_release_leaves_out_what_may_not_be_passed_on_and_says_how_many(tmp_path: Path) -> None:
    heard, (home, keys) = _home(tmp_path, *MIXED)
    made = release(FIRST, home, keys, clock=TickingClock(), emit=heard)
    assert made.totals.packages == 1
    why = {event.id: event.reason for event in heard.of(Result) if event.status == "impossible"}
    assert why["hf:a/nc"] == "it is restricted (restricted:cc-by-nc-4.0) and may not be redistributed"
    assert why["hf:a/was"] == "it is restricted (captured as restricted) and may not be redistributed"
    assert why.keys() == {"hf:a/nc", "hf:a/none", "hf:a/gate", "hf:a/was"}
    assert "2 restricted, 1 gated, 1 unknown" in "".join(event.message for event in heard.of(Note))
    assert [event.failed for event in heard.of(Summary)] == [0]


@pytest.mark.parametrize(("rights", "count"), [("restricted", 3), ("unknown", 2), ("gated", 2)])
def test_class_that_is_included_goes_along_alone(tmp_path: Path, rights: str, count: int) -> None:
    heard, (home, keys) = _home(tmp_path, *MIXED)
    include = frozenset({rights})
    made = release(FIRST, home, keys, clock=TickingClock(), emit=heard, include=include)  # type: ignore[arg-type]  # of the test
    assert made.totals.packages == count


def test_nothing_that_may_be_passed_on_is_no_release(tmp_path: Path) -> None:
    heard, (home, keys) = _home(tmp_path, ("a/none", "restricted", None))
    with pytest.raises(NotFound, match="may be redistributed"):
        release(FIRST, home, keys, clock=TickingClock(), emit=heard)


def run(
    home: Home,
    keys: Keys,
    name: ReleaseName,
    policy: Policy | None = None,
    include: frozenset[RightsClass] = frozenset(),
) -> tuple[Release, Listener]:
    heard = Listener()
    made = release(name, home, keys, clock=TickingClock(), emit=heard, policy=policy, include=include)
    return made, heard


def members(home: Home, made: Release) -> set[str]:
    return {facts.package for facts in read_packages(made, OwnReader(home.channel))}


def left_out(heard: Listener) -> dict[str, str]:
    return {event.id: event.reason for event in heard.of(Result) if event.status == "impossible"}


def said(heard: Listener) -> list[str]:
    return [event.message for event in heard.of(Note)]


def flag(home: Home, package: str, name: FlagName) -> None:
    with Flags(home.flags) as flags:
        flags.put(Flag(package=PackageName(package), flag=name, since="2026-11-20T12:00:00Z", reason="so"))


@pytest.mark.parametrize("name", ["gated", "private"])
def test_package_that_its_hub_closed_since_is_left_out_and_named(tmp_path: Path, name: FlagName) -> None:
    _, (home, keys) = _home(tmp_path, ("a/open", "open", "mit"), ("a/closed", "open", "mit"))
    first, _ = run(home, keys, FIRST)
    flag(home, "hf:a/closed", name)

    second, heard = run(home, keys, SECOND)

    assert members(home, first) == {"hf:a/open", "hf:a/closed"}
    assert members(home, second) == {"hf:a/open"}
    why = f"it is gated ({name} on its hub since 2026-11-20) and may not be redistributed"
    assert left_out(heard) == {"hf:a/closed": why}
    assert "the rights of `hf:a/closed` changed since release `r1`: open (mit) then, gated (mit) now" in said(heard)
    assert f"`hf:a/closed` is in release `r1` and is left out now: {why}" in said(heard)


@pytest.mark.parametrize("name", ["withdrawn", "renamed", "registered-again"])
def test_package_that_is_no_longer_on_its_hub_stays_in_the_release(tmp_path: Path, name: FlagName) -> None:
    _, (home, keys) = _home(tmp_path, ("a/open", "open", "mit"))
    flag(home, "hf:a/open", name)

    made, _ = run(home, keys, FIRST)

    assert members(home, made) == {"hf:a/open"}


def test_change_of_licence_since_the_previous_release_is_said(tmp_path: Path) -> None:
    _, (home, keys) = _home(tmp_path, ("a/x", "open", "mit"), ("a/y", "open", "mit"), ("a/z", "open", "mit"))
    run(home, keys, FIRST)
    with writing(home) as store:
        capture(
            store,
            tmp_path,
            "hf:a/x",
            {"a": b"2"},
            rights="restricted",
            licence="llama2",
            captured="2027-01-01T00:00:00Z",
        )
        capture(store, tmp_path, "hf:a/y", {"a": b"3"}, licence="apache-2.0", captured="2027-01-01T00:00:00Z")

    made, heard = run(home, keys, SECOND)

    assert members(home, made) == {"hf:a/y", "hf:a/z"}
    assert [line for line in said(heard) if "changed since" in line] == [
        "the rights of `hf:a/x` changed since release `r1`: open (mit) then, restricted (llama2) now",
        "the rights of `hf:a/y` changed since release `r1`: open (mit) then, open (apache-2.0) now",
    ]


def test_dry_run_says_the_same_and_writes_nothing(tmp_path: Path) -> None:
    _, (home, keys) = _home(tmp_path, *MIXED, ("a/gone", "open", "mit"))
    run(home, keys, FIRST)
    flag(home, "hf:a/gone", "gated")
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file() and "sqlite" not in path.name}
    heard = Listener()

    summary = plan_release(SECOND, home, keys, emit=heard)

    now = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file() and "sqlite" not in path.name}
    assert now == before
    made, after = run(home, keys, SECOND)
    assert (summary.packages, summary.files, summary.bytes) == (1, made.totals.files, made.totals.raw)
    assert left_out(heard) == left_out(after)
    assert said(heard) == [*said(after), NOT_READ]
    assert "hf:a/gone" in left_out(heard)


def _packs(home: Home) -> set[Path]:
    return set(home.store.glob("packs/*/*.pack"))


def _temper(pack: Path) -> str:
    with open_pack(pack) as reader:
        return reader.header()[0].temper


@pytest.mark.parametrize("how", ["missing", "cut short"])
@pytest.mark.parametrize("temper", ["weights-hot", "meta"])
def test_dry_run_foresees_what_lies_in_packs_that_are_missing_or_cut_short(
    tmp_path: Path, temper: str, how: str
) -> None:
    home, keys = new_home(tmp_path / "home")
    with writing(home) as store:
        capture(store, tmp_path, "hf:a/kept", {"config.json": b"{}"})
        capture(store, tmp_path, "hf:a/x", {"config.json": b"old"})
        store.seal()
        before = _packs(home)
        files = {"config.json": b"new", "model.safetensors": random.Random(how).randbytes(90_000)}
        capture(store, tmp_path, "hf:a/x", files)
        capture(store, tmp_path, "hf:a/y", files)
        store.seal()
    [pack] = [path for path in _packs(home) - before if _temper(path) == temper]
    if how == "missing":
        pack.rename(home.root / "aside")
    else:
        os.truncate(pack, pack.stat().st_size // 2)
    heard = Listener()

    summary = plan_release(FIRST, home, keys, emit=heard)

    made, after = run(home, keys, FIRST)
    assert (summary.packages, summary.files, summary.bytes) == (
        made.totals.packages,
        made.totals.files,
        made.totals.raw,
    )
    assert [(event.id, event.reason) for event in heard.of(Result)] == [
        (event.id, event.reason) for event in after.of(Result) if event.kind == "package"
    ]
    assert said(heard) == [*said(after), NOT_READ]
    assert [event.failed for event in heard.of(Summary)] == [event.failed for event in after.of(Summary)]
    named = [*said(heard), *(f"`{event.id}`" for event in heard.of(Result))]
    assert all(any(f"`{package}`" in line for line in named) for package in ("hf:a/x", "hf:a/y"))
    assert summary.packages == (2 if temper == "meta" else 1)


def test_dry_run_beside_a_writer_counts_what_is_not_sealed_and_names_what_is_incomplete(tmp_path: Path) -> None:
    heard, (home, keys) = _home(tmp_path, ("a/open", "open", "mit"))
    with writing(home) as store:
        damaged = store.put(b"no manifest", kind="manifest", pack_class=PackClass("meta", "open"))
        store.add_capture(new_capture("hf:a/lost", SnapshotId(damaged), licence="mit"))

    with writing(home):  # a clone, say
        summary = plan_release(FIRST, home, keys, emit=heard)

    assert (summary.packages, summary.failed) == (1, 1)
    [lost] = [event for event in heard.of(Result) if event.status == "error"]
    assert lost.id == "hf:a/lost"
    assert lost.reason.startswith("it is left out: ")


POLICY = """
[include]
unknown = "copies for this campus"
"hf:a/gate" = "the authors agreed"

[exclude]
"hf:a/open" = "its owner asked for it"

[licences]
"hf:a/nc" = { licence = "mit", reason = "the paper says so" }

[subsets.few]
about = "two of them"
packages = ["hf:a/nc", "hf:a/ga*"]
only = ["config"]
"""


def test_policy_includes_excludes_and_overrides_with_its_reasons(tmp_path: Path) -> None:
    _, (home, keys) = _home(tmp_path, *MIXED)

    made, heard = run(home, keys, FIRST, read_policy(policy_file(POLICY, tmp_path)))

    assert members(home, made) == {"hf:a/nc", "hf:a/none", "hf:a/gate"}
    assert left_out(heard) == {
        "hf:a/open": "the policy excludes it: its owner asked for it",
        "hf:a/was": "it is restricted (captured as restricted) and may not be redistributed",
    }
    licences = {facts.package: facts.licence for facts in read_packages(made, OwnReader(home.channel))}
    assert licences["hf:a/nc"] == "mit"
    assert (made.subset("few").packages, made.subset("few").only) == (2, ("config",))
    assert {subset.name for subset in made.subsets} == {"all", "few", "metadata", "popular"}


def test_policy_is_stored_with_the_release_and_used_again(tmp_path: Path) -> None:
    _, (home, keys) = _home(tmp_path, *MIXED)
    policy = read_policy(policy_file(POLICY.replace("a/gate", "a/was"), tmp_path))
    first, _ = run(home, keys, FIRST, policy)
    assert first.policy is not None
    assert decode_policy(read_listed(OwnReader(home.channel), first, first.policy)) == policy

    with writing(home) as store:
        capture(store, tmp_path, "hf:b/new", {"config.json": b"new"})
    second, heard = run(home, keys, SECOND)
    assert second.policy == first.policy
    assert members(home, second) == {*members(home, first), "hf:b/new"}
    assert any("The policy of release `r1` is used again" in line for line in said(heard))

    third, heard = run(home, keys, THIRD, read_policy(policy_file("", tmp_path)))
    assert third.policy is None
    assert members(home, third) == {"hf:a/open", "hf:b/new"}
    assert sum("is in release `r2` and is left out now" in line for line in said(heard)) == 3
    assert "the rights of `hf:a/nc` changed since release `r2`: open (mit) then, restricted (cc-by-nc-4.0) now" in said(
        heard
    )


def test_override_does_not_lift_a_gate_and_can_close(tmp_path: Path) -> None:
    _, (home, keys) = _home(tmp_path, *MIXED, ("b/x", "open", "mit"))
    text = (
        "[licences]\n\"hf:a/*\" = { licence = 'mit', reason = 'r' }\n\"hf:b/x\" = { licence = 'other', reason = 'r' }\n"
    )

    _, heard = run(home, keys, FIRST, read_policy(policy_file(text, tmp_path)))

    assert left_out(heard) == {
        "hf:a/gate": "it is gated (gate) and may not be redistributed",
        "hf:b/x": "it is unknown (unknown:other) and may not be redistributed",
    }


def test_decision_about_a_package_that_is_not_captured_is_a_warning(tmp_path: Path) -> None:
    _, (home, keys) = _home(tmp_path, ("a/x", "open", "mit"))
    text = "[exclude]\n'hf:a/y' = 'r'\n'hf:b/*' = 'r'\n'hf:a/z*' = 'r'\n"

    _, heard = run(home, keys, FIRST, read_policy(policy_file(text, tmp_path)))

    warned = [event.message for event in heard.of(Note) if event.warning]
    assert [line.split("`")[1] for line in warned] == ["hf:a/y", "hf:b/*", "hf:a/z*"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("exlude = {}", "exlude"),
        ("[licences]\n'hf:a/x' = { license = 'mit', reason = 'r' }", "license"),
        ("[licences]\n'hf:a/x' = { licence = 'mit' }", "reason"),
        ("[include]\nopen = 'r'", "`open` in `include`"),
        ("[exclude]\nrestricted = 'r'", "`restricted` in `exclude`"),
        ("[exclude]\n'hf:a/*/b' = 'r'", "not a package"),
        ("[exclude]\n'hf:a/x' = ' '", "needs a reason"),
        ("[exclude]\n" + "".join(f"'hf:a/{number}' = 'r'\n" for number in range(2001)), "over the limit of 2,000"),
        ("[exclude]\n'hf:a/x' = '" + "r" * 1001 + "'", "at most 1,000"),
        ("[subsets.all]\nabout = 'x'", "cannot be called `all`"),
        ("[subsets.'A b']\nabout = 'x'", "cannot be called"),
        ("[subsets.a]\nabout = 'x'\nwhere = '1=1'", "where"),
        ("[subsets.a]\nabout = 'x'\nonly = ['pictures']", "pictures"),
        ("[subsets.a]\nabout = ''", "empty text"),
        ("[subsets]\na = '../a.toml'", "cannot be the file of a subset"),
        ("[subsets]\n" + "".join(f"a{number} = 'a.toml'\n" for number in range(33)), "over the limit of 32"),
        ("include = ", "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
        ("# " + "x" * MAX_POLICY_BYTES, "longer than"),
    ],
)
def test_policy_with_a_fault_is_refused_with_the_file_named(tmp_path: Path, text: str, fault: str) -> None:
    file = policy_file(text, tmp_path)
    with pytest.raises(ConfigError) as caught:
        read_policy(file)
    assert fault in caught.value.message
    assert ".toml" in caught.value.message


def test_policy_that_is_no_regular_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with deadline(), pytest.raises(ConfigError, match="not a regular file"):
            read_policy(path)
    with pytest.raises(NotFound, match="no file"):
        read_policy(tmp_path / "none.toml")


def test_subset_may_have_a_file_of_its_own_beside_the_policy(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text("about = 'small ones'\ntasks = ['t']\n")
    policy = read_policy(policy_file("[subsets]\nsmall = 'small.toml'\n", tmp_path))
    assert policy.subsets["small"].about == "small ones"

    (tmp_path / "small.toml").write_text("abuot = 'small ones'\n")
    with pytest.raises(ConfigError, match=r"small\.toml.*abuot"):
        read_policy(tmp_path / "policy.toml")
