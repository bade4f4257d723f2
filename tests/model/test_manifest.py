import base64
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model import canonical
from ptmtorrent.model.ids import ObjectId, SnapshotId, object_id
from ptmtorrent.model.manifest import (
    LINK_MODE,
    MAX_OBJECT_BYTES,
    MAX_PIECES,
    MAX_SEQUENCE,
    MAX_SIZE,
    MISSING_FEATURE,
    REGULAR_MODE,
    Capture,
    FileEntry,
    Identity,
    Manifest,
    MissingFile,
    RawAnswer,
    Run,
    check_manifest,
    decode_manifest,
    encode_manifest,
    new_manifest,
    objects_in,
    spell_missing,
)
from tests.model.generated import hex64, manifest_of, new_capture, new_file

GOLDEN = Path(__file__).parents[1] / "golden" / "manifest.json"
names = st.lists(st.text("abcxyzé", min_size=1, max_size=6), min_size=1, max_size=3).map("/".join)


def golden() -> Manifest:
    answer = b'{"id":"org/name"}'
    objects = ((object_id(b"abc"), 3), (object_id(b"weights"), 7), (object_id(answer), len(answer)))
    files = (
        new_file("model.safetensors", b"weights", 1, source="lfs", cutter="safetensors/1"),
        new_file("config.json", b"abc", 0, git_sha1="f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"),
        new_file("empty.txt", b"", git_sha1="e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        FileEntry(
            **{
                **msgspec.structs.asdict(new_file("x", b"abc", 0)),
                "path": None,
                "path_b64": base64.b64encode(b"caf\xe9.txt").decode(),
            }
        ),
    )
    identity = Identity(hub="hf", name="org/name", commit="c" * 40, hub_id="621ffdc036468d709f17434d", author="org")
    return new_manifest(identity, files, objects, (RawAnswer(name="model_info", recipe=((2, 1),)),))


def damaged(**fields: object) -> Manifest:
    return msgspec.structs.replace(golden(), **fields)


def with_file(**fields: object) -> Manifest:
    odd, config, *rest = golden().files
    return damaged(files=(odd, msgspec.structs.replace(config, **fields), *rest))


def with_missing(**fields: object) -> Manifest:
    lost = MissingFile(
        path="lost.bin", mode=REGULAR_MODE, size=7, source="lfs", oid=f"sha256:{'a' * 64}", reason="gone"
    )
    return damaged(missing=(msgspec.structs.replace(lost, **fields),), requires=(MISSING_FEATURE,))


def test_the_golden_manifest_is_what_we_write() -> None:
    assert encode_manifest(golden())[0] == GOLDEN.read_bytes()


def test_the_golden_manifest_is_read_back() -> None:
    data = GOLDEN.read_bytes()

    assert decode_manifest(data, SnapshotId(object_id(data))) == golden()


def test_the_golden_snapshot_id_never_changes() -> None:
    assert encode_manifest(golden())[1] == "cf7b313acc0a0455a5bc274422a7ab18b52c08083a938695323f49758d30163e"


@settings(max_examples=50)
@given(st.dictionaries(names.map(lambda path: f"{path}.txt"), st.binary(max_size=40), max_size=6))
def test_a_manifest_reads_back_as_it_was_written(contents: dict[str, bytes]) -> None:
    manifest = manifest_of("hf:org/name", contents.items())
    data, snapshot = encode_manifest(manifest)

    assert decode_manifest(data, snapshot) == manifest


@settings(max_examples=50)
@given(st.permutations(sorted({"b", "a/c", "a-b", "Z", "é"})))
def test_the_order_in_which_files_are_given_changes_nothing(order: list[str]) -> None:
    manifest = manifest_of("hf:a/b", [(path, b"same") for path in order])

    assert [file.name.encode() for file in manifest.files] == sorted(path.encode() for path in order)


def test_other_bytes_than_the_snapshot_names_are_refused() -> None:
    data, snapshot = encode_manifest(golden())

    with pytest.raises(IntegrityError, match="wrong hash"):
        decode_manifest(data.replace(b"config", b"konfig"), snapshot)


def test_objects_of_walks_a_recipe_in_file_order() -> None:
    assert golden().objects_of(((1, 2), (0, 1))) == (1, 2, 0)


def test_a_name_that_is_not_utf8_is_shown_with_surrogate_escapes() -> None:
    assert "caf\udce9.txt" in [file.name for file in golden().files]


@pytest.mark.parametrize(
    "manifest",
    [
        with_file(path="../x"),
        with_file(path="/x"),
        with_file(path="a\0b"),
        with_file(path="empty.txt"),
        with_file(path="model.safetensors/x"),
        with_file(path=None),
        with_file(path_b64="eA=="),
        with_file(path=None, path_b64=base64.b64encode(b"plain").decode()),
        with_file(path=None, path_b64=base64.b64encode(b"../caf\xe9").decode()),
        with_file(path=None, path_b64=base64.b64encode(b"\xe9/../../x").decode()),
        with_file(path=None, path_b64="!"),
        with_file(size=4),
        with_file(recipe=((0, 4),)),
        with_file(recipe=((-1, 1),)),
        with_file(recipe=((0, 0),)),
        with_file(blake3="AB" * 32),
        with_file(sha256="ab"),
        with_file(git_sha1="zz"),
        with_file(mode=0o104755),
        with_file(mode=LINK_MODE),
        with_file(link="config.json"),
        with_file(mode=LINK_MODE, link="/etc/passwd"),
        with_file(mode=LINK_MODE, link="../x"),
        with_file(mode=LINK_MODE, link="a/.."),
        with_file(mode=LINK_MODE, link=""),
        damaged(files=tuple(reversed(golden().files))),
        damaged(objects=(*golden().objects, golden().objects[0])),
        damaged(objects=((ObjectId("x"), 3), *golden().objects[1:])),
        damaged(objects=((object_id(b"abc"), MAX_OBJECT_BYTES + 1), *golden().objects[1:])),
        damaged(raw=(RawAnswer(name="tree", recipe=((0, 9),)),)),
        damaged(raw=(RawAnswer(name="tree", recipe=((0, 1),) * (MAX_PIECES + 1)),)),
        with_missing(path="../x"),
        with_missing(path="config.json"),
        with_missing(path="config.json/x"),
        with_missing(path_b64="eA=="),
        with_missing(mode=0o104755),
        with_missing(size=-1),
        with_missing(size=MAX_SIZE + 1),
        with_missing(oid="sha256:ab"),
        with_missing(oid="../x"),
        with_missing(reason="forgotten"),
        msgspec.structs.replace(with_missing(), missing=with_missing().missing * 2),
        msgspec.structs.replace(with_missing(), requires=()),
        damaged(requires=(MISSING_FEATURE,)),
        damaged(package=Identity(hub="hf", name="../../x", commit="c")),
        damaged(package=Identity(hub="hf", name="org/name", commit="../x")),
        damaged(package=Identity(hub="hf", name="org/name", commit="a/b")),
        damaged(package=Identity(hub="HF/..", name="org/name", commit="c")),
    ],
)
def test_a_manifest_that_lies_is_refused(manifest: Manifest) -> None:
    data = canonical.encode(manifest)

    with pytest.raises(IntegrityError):
        decode_manifest(data, SnapshotId(object_id(data)))


def test_missing_files_are_part_of_the_snapshot() -> None:
    manifest = with_missing()
    data, snapshot = encode_manifest(manifest)
    lost, odd = manifest.missing[0], msgspec.structs.replace(manifest.missing[0], path=None, path_b64="6S5iaW4=")
    made = new_manifest(manifest.package, manifest.files, manifest.objects, manifest.raw, (odd, lost))

    assert decode_manifest(data, snapshot) == manifest
    assert snapshot != encode_manifest(golden())[1]
    assert (made.requires, made.missing, made.size) == ((MISSING_FEATURE,), (lost, odd), golden().size)
    assert spell_missing(made.missing) == ("2 of its files were not captured: `lost.bin` (gone), `\\xe9.bin` (gone)")


def test_a_link_that_stays_inside_the_package_is_accepted() -> None:
    link = new_file("a/link", b"abc", 0, mode=LINK_MODE, link="../config.json")
    identity = Identity(hub="hf", name="org/name", commit=hex64("x"))

    check_manifest(new_manifest(identity, (link,), ((object_id(b"abc"), 3),)))

    assert link.link == "../config.json"


@pytest.mark.parametrize("recipe", [((0, MAX_PIECES + 1),), ((0, 3),) * (MAX_PIECES // 3 + 1)])
def test_recipes_that_name_more_objects_than_any_may_are_refused_before_they_are_summed(
    recipe: tuple[Run, ...],
) -> None:
    with pytest.raises(IntegrityError, match="the recipes name more than 4,194,304 objects"):
        check_manifest(damaged(raw=(RawAnswer(name="tree", recipe=recipe),)))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"snapshot": "AB" * 32}, "`snapshot` is not 64 lowercase hex digits"),
        ({"sequence": 0}, "`sequence` is 0"),
        ({"missing": -1}, "`missing` is -1"),
        ({"sequence": MAX_SEQUENCE + 1}, "`sequence` is 9007199254740992"),
    ],
)
def test_a_capture_that_lies_is_refused(fields: dict[str, object], reason: str) -> None:
    capture = msgspec.to_builtins(new_capture("hf:org/name", sequence=1))

    with pytest.raises(IntegrityError, match=reason):
        canonical.decode(canonical.encode({**capture, **fields}), Capture, name="capture")


def test_the_objects_of_a_manifest_are_read_alone() -> None:
    data, snapshot = encode_manifest(golden())

    assert objects_in(data, snapshot) == [identifier for identifier, _ in golden().objects]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not a manifest: "),
        (b"[]", "is not a manifest: "),
        (b"{}", "is not a manifest: "),
        (b'{"objects":3}', "is not a manifest: "),
        (b'{"objects":[["a"]]}', "is not a manifest: "),
        (b"[" * 1000, "is not a manifest: "),
        (b'{"objects":[["a",1]]}', "has a malformed id of an object"),
        (b'{"objects":[["%s",1],["%s",1]]}' % (b"a" * 64, b"A" * 64), "has a malformed id of an object"),
    ],
)
def test_objects_of_what_is_no_manifest_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(IntegrityError, match=f"`manifest {hex64('x')[:12]}` {reason}"):
        objects_in(data, SnapshotId(hex64("x")))
