import gzip
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import HubError, IntegrityError
from ptmtorrent.hubs.huggingface.records import is_usable_name, read_files, read_listed, split_page
from ptmtorrent.hubs.port import Listed

REAL = Path(__file__).parents[3].parent / "shared/data/huggingface/hf-models-2022-02.sample.jsonl.gz"
GIT = "a" * 40
SHA256 = "b" * 64

FULL = {
    "_id": "621f",
    "id": "org/name",
    "sha": "c" * 40,
    "author": "org",
    "gated": False,
    "private": False,
    "disabled": False,
    "downloads": 12,
    "likes": 3,
    "tags": ["transformers", "license:mit", "license:apache-2.0"],
    "pipeline_tag": "fill-mask",
    "library_name": "transformers",
    "lastModified": "2026-01-01T00:00:00.000Z",
}
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def record(**changes: object) -> bytes:
    return json.dumps({**FULL, **changes}).encode()


def entry(path: str = "f", **changes: object) -> dict[str, object]:
    return {"type": "file", "path": path, "oid": GIT, "size": 3, **changes}


def page(*entries: object) -> list[bytes]:
    return [json.dumps(entries).encode()]


def test_record_is_read_and_kept_byte_for_byte() -> None:
    raw = b'{ "id":"org/name",   "sha":"' + b"c" * 40 + b'"}'
    listed = read_listed(raw)

    assert (listed.name, listed.commit, listed.author, listed.raw) == ("org/name", "c" * 40, "org", raw.decode())


def test_counts_the_hub_did_not_give_are_none() -> None:
    listed = read_listed(b'{"id":"org/name"}')

    assert (listed.downloads, listed.likes, listed.commit) == (None, None, None)


def test_licences_are_read_off_the_tags() -> None:
    assert read_listed(record()).licence == "mit AND apache-2.0"


@pytest.mark.parametrize(
    ("changes", "access"),
    [
        ({}, "public"),
        ({"gated": "auto"}, "gated"),
        ({"gated": "manual"}, "gated"),
        ({"gated": True}, "gated"),
        ({"private": True, "gated": "auto"}, "private"),
        ({"disabled": True, "private": True}, "disabled"),
    ],
)
def test_access_is_the_strictest_the_hub_names(changes: dict[str, object], access: str) -> None:
    assert read_listed(record(**changes)).access == access


@given(st.dictionaries(st.sampled_from([key for key in FULL if key != "id"]), values, max_size=6))
def test_odd_values_never_stop_a_listing(changes: dict[str, object]) -> None:
    assert read_listed(record(**changes)).name == "org/name"


@pytest.mark.parametrize("name", ["gpt2", "org/name", "ÄÖ/Ü", "a.b/c..d", "org/..x"])
def test_name_of_one_or_two_components_is_usable(name: str) -> None:
    assert is_usable_name(name)


@pytest.mark.parametrize("name", ["", "..", "../x", "x/..", "./x", "a/b/c", "/x", "x/", "a\nb", "a\\b", "a" * 256])
def test_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    assert not is_usable_name(name)
    with pytest.raises(HubError):
        read_listed(record(id=name, modelId=None))


@given(st.binary(max_size=40))
def test_answer_that_is_no_listing_is_a_hub_error(body: bytes) -> None:
    try:
        items = [read_listed(item) for item in split_page(body, "the page")]
    except HubError:
        return
    assert items == []


@pytest.mark.parametrize(
    "body", [b"[" * 100_000 + b"]" * 100_000, b'[{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}]"]
)
def test_answer_nested_without_end_is_a_hub_error(body: bytes) -> None:
    with pytest.raises(HubError, match="the page"):
        [read_listed(item) for item in split_page(body, "the page")]
    with pytest.raises(HubError, match="the page"):
        read_files([body], "the page")


def test_page_of_things_that_are_no_records_is_refused_before_they_take_memory() -> None:
    with pytest.raises(HubError, match="not a list"):
        split_page(b"[" + b"0," * 1000 + b"0]", "the page")


@pytest.mark.parametrize("tag", [b"\\ud83d", b"\\ude00", b"\\\\\\ud83d", b"\xff"])
def test_text_that_is_no_unicode_does_not_stop_a_listing(tag: bytes) -> None:
    [item] = split_page(b'[{"id":"a/b","downloads":7,"tags":["x","%b"]}]' % tag, "the page")
    listed = read_listed(item)

    assert (listed.name, listed.downloads, listed.tags[0], len(listed.tags)) == ("a/b", 7, "x", 2)
    assert msgspec.json.decode(msgspec.json.encode(listed), type=Listed) == listed


@pytest.mark.parametrize("number", [2**53, 2**63])
def test_count_beyond_all_reason_is_one_that_was_not_given(number: int) -> None:
    assert read_listed(record(downloads=number, likes=number)).downloads is None
    with pytest.raises(HubError, match="the tree"):
        read_files(page(entry(size=number)), "the tree")


def test_package_larger_than_any_can_be_is_refused() -> None:
    with pytest.raises(HubError, match=r"over the limit of 1\.1 PB"):
        read_files(page(*(entry(f"{number}", size=2**49) for number in range(2))), "the tree")


def test_text_beyond_all_reason_is_not_kept_in_the_record() -> None:
    listed = read_listed(record(pipeline_tag="x" * 100_000, tags=["license:" + "x" * 100_000, *["t"] * 100_000]))

    assert (listed.task, listed.licence) == (None, None)
    assert 0 < len(listed.tags) <= 1024


def test_page_is_split_without_touching_its_records() -> None:
    assert split_page(b'[ {"id" : "a/b"} ,{"x":1.50}]', "the page") == [b'{"id" : "a/b"}', b'{"x":1.50}']


def test_files_are_known_as_git_lfs_or_xet() -> None:
    lfs = {"oid": SHA256, "size": 9, "pointerSize": 130}
    files = read_files(page(entry("c", lfs=lfs, xetHash="x"), entry("b", lfs=lfs), entry("a")), "the tree")

    assert [(file.path, file.oid, file.size, file.source) for file in files] == [
        ("a", f"git:{GIT}", 3, "git"),
        ("b", f"sha256:{SHA256}", 9, "lfs"),
        ("c", f"sha256:{SHA256}", 9, "xet"),
    ]


def test_folders_are_no_files() -> None:
    assert read_files(page({"type": "directory", "path": "d", "oid": GIT, "size": 0}), "the tree") == []


@pytest.mark.parametrize(
    "changes", [{"oid": "x"}, {"size": None}, {"size": -1}, {"lfs": {"oid": "x", "size": 3}}, {"lfs": {}}]
)
def test_file_without_hash_or_size_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(HubError, match="without its hash or size"):
        read_files(page(entry(**changes)), "the tree")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "../.git/x", "a//b", "a\x00b"])
def test_path_no_manifest_may_hold_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError, match="the tree"):
        read_files(page(entry(path)), "the tree")


def test_path_that_occurs_on_two_pages_is_refused() -> None:
    with pytest.raises(IntegrityError, match="twice"):
        read_files([*page(entry("a")), *page(entry("a"))], "the tree")


def test_every_real_record_of_2022_is_read() -> None:
    if not REAL.is_file():
        pytest.skip(f"the real records are not here: {REAL}")
    with gzip.open(REAL, "rb") as stream:
        listed = [read_listed(line.rstrip(b"\n")) for line in stream]

    assert len(listed) == 7358
    assert sum(item.commit is not None for item in listed) == 7358
    assert any(item.downloads is None for item in listed)
    assert any("/" not in item.name for item in listed)


def test_names_that_no_reader_would_write_cost_their_files_alone() -> None:
    odd = (".git/config", "a/.GIT", "x" * 256)
    files = read_files(page(*(entry(path) for path in (*odd, "a/b"))), "the tree")
    assert {file.path: file.missing for file in files} == {**dict.fromkeys(odd, "unsafe-name"), "a/b": None}
    with pytest.raises(IntegrityError, match="is refused"):
        read_files(page(entry("a/b"), entry("../.git/config")), "the tree")
