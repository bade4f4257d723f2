from pathlib import Path

import msgspec
import pytest

from ptmtorrent.errors import IntegrityError, NotFound
from ptmtorrent.model import canonical, release
from ptmtorrent.model.ids import InfoHash, ReleaseName
from ptmtorrent.model.kinds import FileKind
from ptmtorrent.model.manifest import Capture
from ptmtorrent.model.members import MAX_RUNS, MAX_SHARD_BITS
from ptmtorrent.model.release import (
    FileRef,
    Release,
    RunRef,
    SubsetRef,
    TableRef,
    Totals,
    VolumeRef,
    content_root,
    decode_release,
    placement_root,
)
from ptmtorrent.model.subset import METADATA, POPULAR
from tests.model.generated import hex64, new_capture

GOLDEN = Path(__file__).parents[1] / "golden"


def ref(path: str, size: int = 100) -> FileRef:
    return FileRef(path=path, size=size, blake3=hex64(path))


def run(**fields: object) -> RunRef:
    known = {
        "level": 0,
        "bits": 0,
        "rows": 1,
        "index": ref("releases/2026.11/index/rows.bin"),
        "documents": (ref("releases/2026.11/index/documents.bin"),),
        **fields,
    }
    return RunRef(**known)  # type: ignore[arg-type]  # fields are spelled by the test


def table(name: str, **fields: object) -> TableRef:
    known = {"files": (ref(f"releases/2026.11/tables/{name}.parquet"),), **fields}
    return TableRef(name=name, **known)  # type: ignore[arg-type]  # fields are spelled by the test


NAMES = ref("releases/2026.11/subsets/popular.txt")
KINDS: tuple[FileKind, ...] = ("docs", "config", "metadata")
OTHER = ref("releases/2026.11/subsets/other.txt")


def subset(name: str, **fields: object) -> SubsetRef:
    known = {
        "query": POPULAR.query,
        "packages": 1,
        "files": 3,
        "bytes": 4000,
        "stored": 2500,
        "packs_bytes": 8 << 20,
        **fields,
    }
    return SubsetRef(name=name, **known)  # type: ignore[arg-type]  # fields are spelled by the test


def volume(**fields: object) -> VolumeRef:
    known = {
        "rights": "open",
        "level": 0,
        "packs": 2,
        "bytes": 8 << 20,
        "v1": InfoHash("ab" * 20),
        "v2": InfoHash("cd" * 32),
        "torrent_v1": ref(f"torrents/{'ab' * 20}.torrent"),
        "torrent_v2": ref(f"torrents/{'cd' * 32}.torrent"),
        **fields,
    }
    return VolumeRef(**known)  # type: ignore[arg-type]  # fields are spelled by the test


def rooted(**fields: object) -> Release:
    """A release whose roots follow from its lists, whatever they are."""
    known = {
        "name": ReleaseName("2026.11"),
        "sequence": 2,
        "previous": hex64("release 1"),
        "created": "2026-11-20T12:00:00Z",
        "written_by": "ptmtorrent 0.1.0",
        "members_root": hex64("members"),
        "runs": (run(),),
        "tree": ref("releases/2026.11/index/tree.bin"),
        "tables": (table("packages"), table("files")),
        "subsets": (subset("metadata", query=METADATA.query, only=KINDS), subset("popular", members=NAMES)),
        "volumes": (volume(),),
        "totals": Totals(packages=1, files=3, raw=4000, stored=2600, packs=2, packs_bytes=8 << 20),
        **fields,
    }
    roots = {
        "content_root": content_root(known["name"], known["members_root"], known["subsets"]),  # type: ignore[arg-type]  # as above
        "placement_root": placement_root(known["runs"], known["tree"], known["tables"], known["volumes"]),  # type: ignore[arg-type]  # as above
    }
    return Release(format=Release.FORMAT, version=Release.VERSION, requires=(), **known, **roots)  # type: ignore[arg-type]  # as above


def golden_capture() -> Capture:
    return new_capture(
        "hf:org/name",
        hex64("s"),
        listed="2026-11-20T11:00:00Z",
        licence="apache-2.0",
        downloads=123,
        likes=4,
        task="fill-mask",
        library="transformers",
        tags=("pytorch", "bert"),
        modified="2026-10-01T00:00:00.000Z",
    )


GOLDENS: list[tuple[str, canonical.Document]] = [
    ("release.json", rooted()),
    ("capture.json", golden_capture()),
]


@pytest.mark.parametrize(("name", "value"), GOLDENS)
def test_the_golden_file_is_what_we_write_and_read(name: str, value: canonical.Document) -> None:
    data = (GOLDEN / name).read_bytes()

    assert canonical.encode(value) == data
    assert canonical.decode(data, type(value), name=name) == value


def test_the_golden_content_root_never_changes() -> None:
    assert rooted().content_root == "793ac0e1eb05ef5b27cd436058590bd939e5e7373184eeedfd0407c10e14e5cf"


def test_the_golden_release_passes_its_own_checks() -> None:
    assert decode_release((GOLDEN / "release.json").read_bytes()) == rooted()


def test_where_bytes_lie_is_no_part_of_the_content_root() -> None:
    moved = rooted(
        runs=(run(level=1, index=ref("releases/other/index/rows.bin", size=7)), run()),
        tree=ref("releases/other/index/tree.bin"),
        tables=(table("packages", files=(ref("releases/a/tables/p.parquet"), ref("releases/b/tables/p.parquet"))),),
        volumes=(),
        subsets=tuple(reversed(rooted().subsets)),
    )

    assert moved.content_root == rooted().content_root
    assert moved.placement_root != rooted().placement_root


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ReleaseName("other")},
        {"members_root": hex64("other members")},
        {"subsets": (subset("popular", members=NAMES),)},
        {"subsets": (subset("metadata", query="other", only=KINDS), subset("popular", members=NAMES))},
        {"subsets": (subset("metadata", query=METADATA.query), subset("popular", members=NAMES))},
        {"subsets": (subset("metadata", query=METADATA.query, only=KINDS), subset("popular"))},
        {"subsets": (subset("metadata", query=METADATA.query, only=KINDS), subset("popular", members=OTHER))},
    ],
)
def test_what_a_release_is_decides_its_content_root(fields: dict[str, object]) -> None:
    assert rooted(**fields).content_root != rooted().content_root


@pytest.mark.parametrize(
    "fields",
    [
        {"content_root": hex64("x")},
        {"placement_root": hex64("x")},
        {"name": ReleaseName("2026.12")},
        {"members_root": hex64("x")},
        {"runs": (run(rows=2),)},
        {"tree": ref("releases/2026.11/index/tree.bin", size=1)},
        {"volumes": ()},
        {"tables": ()},
        {"subsets": ()},
    ],
)
def test_a_release_that_does_not_hash_to_its_roots_is_refused(fields: dict[str, object]) -> None:
    data = canonical.encode(msgspec.structs.replace(rooted(), **fields))

    with pytest.raises(IntegrityError):
        decode_release(data)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ReleaseName("../x")},
        {"tables": (table("packages", files=(ref("../x"),)),)},
        {"tables": (table("packages", files=(ref("releases/../../x"),)),)},
        {"tables": (table("packages", files=(ref("/etc/passwd"),)),)},
        {"tables": (table("packages", files=(ref("metadata/timestamp.json"),)),)},
        {"tables": (table("packages", files=(FileRef(path="releases/t", size=1, blake3="xyz"),)),)},
        {"tables": (table("packages", files=(ref("releases/t", size=-1),)),)},
        {"tables": (table("../x"),)},
        {"tree": ref("releases/t", size=canonical.MAX_DOCUMENT_BYTES + 1)},
        {"volumes": (volume(torrent_v1=ref("torrents/../../x")),)},
        {"volumes": (volume(torrent_v1=ref("torrents/x", size=canonical.MAX_DOCUMENT_BYTES + 1)),)},
        {"runs": (run(bits=-1),)},
        {"runs": (run(bits=MAX_SHARD_BITS + 1),)},
        {"runs": (run(rows=-1),)},
        {"runs": (run(level=-1),)},
        {"runs": (run(),) * (MAX_RUNS + 1)},
        {"runs": (run(index=ref("packs/x")),)},
        {"members_root": "xyz"},
        {"subsets": (subset("../x"),)},
        {"subsets": (subset(""),)},
        {"subsets": (subset("popular", members=ref("../x")),)},
        {"subsets": (subset("popular", members=ref("releases/x", size=canonical.MAX_DOCUMENT_BYTES + 1)),)},
        {"files": {"policy": ref("../x")}},
        {"files": {"../x": ref("releases/x")}},
        {"files": {"policy": ref("releases/x", size=canonical.MAX_DOCUMENT_BYTES + 1)}},
    ],
)
def test_a_release_that_lists_what_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        decode_release(canonical.encode(rooted(**fields)))


def test_a_file_with_an_unknown_name_is_listed_and_ignored() -> None:
    later = rooted(files={"withdrawn": ref("releases/2026.11/withdrawn.json")})

    assert decode_release(canonical.encode(later)).policy is None
    assert later.listed[-1].path == "releases/2026.11/withdrawn.json"


def test_a_volume_of_unknown_rights_is_refused() -> None:
    with pytest.raises(IntegrityError):
        decode_release(canonical.encode(rooted(volumes=(volume(rights="stolen"),))))


def test_an_unknown_subset_is_refused_naming_those_there_are() -> None:
    with pytest.raises(NotFound) as caught:
        rooted().subset("populer")

    assert "`popular`" in (caught.value.hint or "")
    assert rooted().subset("popular").name == "popular"


def test_a_run_of_more_files_of_documents_than_rows_can_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = (ref("releases/2026.11/index/documents.bin"), ref("releases/2026.11/index/documents-2.bin"))
    made = canonical.encode(rooted(runs=(run(documents=documents),)))
    assert decode_release(made).runs[0].documents == documents

    monkeypatch.setattr(release, "MAX_DOCUMENT_FILES", 1)
    with pytest.raises(IntegrityError, match=r"`2026\.11` has a run with 2 files of documents"):
        decode_release(made)
