"""The policy of a release as it is stored: pinned bytes, bounds, and readers that do not know it."""

from fractions import Fraction
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.errors import ConfigError, IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.policy import (
    MAX_ENTRIES,
    MAX_POLICY_BYTES,
    MAX_SUBSETS,
    MAX_TEXT,
    Licensed,
    Policy,
    PolicyFile,
    decode_policy,
    new_policy,
)
from ptmtorrent.model.release import FileRef, Release, decode_release
from ptmtorrent.model.subset import SubsetQuery, find_pattern

GOLDEN = Path(__file__).parents[1] / "golden"


def golden_policy() -> Policy:
    file = PolicyFile(
        include={"restricted": "the licences allow copies", "hf:org/model": "the authors agreed"},
        exclude={"hf:other/*": "the owner asked for it"},
        licences={"dir:team/model": Licensed(licence="mit", reason="section 5 of the paper")},
    )
    query = SubsetQuery(
        about="image models",
        packages=frozenset({"hf:org/*", "hf:a/b", "onnx:*"}),
        tasks=("image-classification",),
        min_downloads={"hf": 51},
        only=("docs",),
    )
    return new_policy(file, {"vision": query})


def test_the_golden_file_is_what_we_write_and_read() -> None:
    data = (GOLDEN / "policy.json").read_bytes()
    assert canonical.encode(golden_policy()) == data
    assert decode_policy(data) == golden_policy()


def test_empty_policy_has_the_head_alone() -> None:
    assert canonical.encode(new_policy()) == b'{"format":"ptmtorrent/policy","requires":[],"version":1}'
    assert new_policy().is_empty


@pytest.mark.parametrize(
    "data",
    [
        b'{"exclude":{"hf:a/*/b":"r"},"format":"ptmtorrent/policy","requires":[],"version":1}',
        b'{"exclude":{"hf:a":""},"format":"ptmtorrent/policy","requires":[],"version":1}',
        b'{"format":"ptmtorrent/policy","more":1,"requires":[],"version":1}',
        b'{"format":"ptmtorrent/policy","requires":[],"subsets":{"all":{"about":"x"}},"version":1}',
        b" " * (MAX_POLICY_BYTES + 1),
    ],
)
def test_stored_policy_that_no_release_could_store_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_policy(data)


def test_full_name_and_then_the_longest_beginning_decides() -> None:
    entries = {"hf:a/*": 1, "hf:*": 2, "hf:a/x": 3}
    assert [find_pattern(entries, name) for name in ("hf:a/x", "hf:a/y", "hf:b/x", "onnx:x")] == [
        "hf:a/x",
        "hf:a/*",
        "hf:*",
        None,
    ]


def test_release_with_a_policy_has_the_roots_that_readers_without_policies_compute() -> None:
    plain = decode_release((GOLDEN / "release.json").read_bytes())
    policy = FileRef(path="releases/2026.11/policy.json", size=10, blake3="a" * 64)
    listed = msgspec.structs.replace(plain, files={"policy": policy})

    assert decode_release(canonical.encode(listed)) == listed
    assert listed.policy == policy
    assert listed.listed == (*plain.listed, policy)
    assert plain.policy is None
    assert (
        canonical.decode(canonical.encode(listed), _OldRelease, name="release.json").content_root == plain.content_root
    )


class _OldRelease(canonical.Document, frozen=True, kw_only=True):
    """What a reader of before knows of a release."""

    FORMAT = Release.FORMAT
    VERSION = Release.VERSION

    name: str
    content_root: str


@pytest.mark.parametrize(
    ("path", "size"), [("../policy.json", 10), ("releases/x/policy.json", -1), ("releases/x/policy.json", 1 << 30)]
)
def test_release_that_lists_an_impossible_policy_is_refused(path: str, size: int) -> None:
    plain = decode_release((GOLDEN / "release.json").read_bytes())
    listed = msgspec.structs.replace(plain, files={"policy": FileRef(path=path, size=size, blake3="a" * 64)})
    with pytest.raises(IntegrityError):
        decode_release(canonical.encode(listed))


NAMED = SubsetQuery(about="x")


@pytest.mark.parametrize(
    ("file", "subsets", "reason"),
    [
        (
            PolicyFile(licences={"hf:a/b": Licensed(licence=" ", reason="r")}),
            {},
            "`hf:a/b` in `licences` needs a licence",
        ),
        (
            PolicyFile(licences={"hf:a/b": Licensed(licence="mit", reason="")}),
            {},
            "`hf:a/b` in `licences` needs a reason",
        ),
        (PolicyFile(), {f"s{number}": NAMED for number in range(MAX_SUBSETS + 1)}, "33 subsets, over the limit of 32"),
        (PolicyFile(), {"all": NAMED}, "a subset cannot be called `all`"),
        (PolicyFile(), {"s": SubsetQuery(about="")}, "the subset `s` has an empty text"),
        (
            PolicyFile(include={"licensed": "r"}),
            {},
            "`licensed` in `include` is not a package, .* nor one of restricted",
        ),
        (PolicyFile(exclude={"gated": "r"}), {}, "`gated` in `exclude` is not a package"),
        (PolicyFile(exclude={f"hf:a/{number}": "r" for number in range(MAX_ENTRIES + 1)}), {}, "2,001 entries"),
    ],
)
def test_a_decision_that_cannot_be_applied_is_refused_naming_it_and_the_file(
    file: PolicyFile, subsets: dict[str, SubsetQuery], reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"`my.toml`: .*{reason}") as caught:
        new_policy(file, subsets, name="my.toml")
    assert caught.value.hint == "correct `my.toml`"


def test_a_policy_of_valid_decisions_that_is_too_long_is_refused() -> None:
    file = PolicyFile(exclude={f"hf:a/{number}": "r" * MAX_TEXT for number in range(270)})

    with pytest.raises(ConfigError, match=r"`my\.toml` is 273\.7 kB, over the limit of 262\.1 kB") as caught:
        new_policy(file, name="my.toml")
    assert caught.value.hint == "shorten its reasons"


@pytest.mark.parametrize("stored", [-1, 100_001])
def test_stored_lone_cost_that_no_policy_may_have_is_refused(stored: int) -> None:
    data = b'{"format":"ptmtorrent/policy","lone_cost":%d,"requires":[],"version":1}'
    assert decode_policy(data % 1500).lone_limit == Fraction(3, 2)
    with pytest.raises(IntegrityError, match=rf"`policy\.json`: `lone_cost` cannot be {stored}"):
        decode_policy(data % stored)


@pytest.mark.parametrize(
    ("given", "stored"),
    [(0.0001, 1), (100, 100_000), ("off", 0), (0, None), (100.1, None), (float("nan"), None), ("1", None)],
)
def test_lone_cost_is_kept_in_thousandths_or_refused(given: float | str, stored: int | None) -> None:
    file = PolicyFile(lone_cost=given)
    if stored is not None:
        assert new_policy(file).lone_cost == stored
        assert decode_policy(canonical.encode(new_policy(file))) == new_policy(file)
        return
    with pytest.raises(ConfigError, match=r"`my\.toml`: `lone_cost` is .*, and not `off` or a number") as caught:
        new_policy(file, name="my.toml")
    assert caught.value.hint == "correct `my.toml`"
