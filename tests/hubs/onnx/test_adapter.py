"""The simulated zoo, and all packages of the real one, reconstructed from its pointers."""

import csv
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ptmtorrent.errors import HubError, NotFound
from ptmtorrent.hubs.client.download import Download
from ptmtorrent.hubs.git.clones import Clones, check_files
from ptmtorrent.hubs.git.objects import FOLDER_PROOF, split_proof
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.onnx.adapter import OnnxZoo
from ptmtorrent.hubs.onnx.readme import licence_in
from ptmtorrent.hubs.onnx.records import package_of, read_manifest, select_own_files, task_of
from ptmtorrent.hubs.port import HubFile, Listed, Query
from ptmtorrent.model.pointers import Pointer
from tests.hubs.onnx.samples import LARGE, MNIST, SKIPPED, Zoo, contents, zoo
from tests.simulators.git_server import serve_git

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "onnx"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Zoo]:
    with zoo(tmp_path) as made:
        yield made


def everything(hub: OnnxZoo, *ids: str) -> dict[str, Listed]:
    [page] = hub.listing(Query(ids=ids), None)
    return {listed.name: listed for listed in page.packages}


def download(hub: OnnxZoo, name: str, path: str, part: Path, *, first: int = 0) -> bytes:
    described = hub.describe(everything(hub, name)[name])
    [file] = [file for file in hub.files(described)[0] if file.path == path]
    Download(
        session=hub.session,
        locate=lambda: hub.locate(described, file),
        file=file,
        what=f"`onnx:{name}` file `{path}`",
        part=part,
        count=lambda *_: None,
        stop=hub.session.stop,
        first=first,
    ).run()
    return part.read_bytes()


def test_packages_are_the_folders_with_weights_whatever_the_manifest_names(world: Zoo) -> None:
    hub = world.hub()

    found = everything(hub)
    hub.close()

    assert list(found) == sorted([MNIST, SKIPPED, LARGE])
    assert found[MNIST].licence == "mit"
    assert found[MNIST].task == "classification"
    assert found[MNIST].tags == ("vision",)
    assert found[SKIPPED].task == "computer-vision"
    assert {listed.commit for listed in found.values()} == {world.commit}


def test_files_of_a_package_belong_to_the_commit_of_the_zoo(world: Zoo) -> None:
    hub = world.hub()
    files, answers = hub.files(hub.describe(everything(hub, MNIST)[MNIST]))
    hub.close()

    assert [file.path for file in files] == ["README.md", "model/mnist-12.onnx", "model/mnist-12.tar.gz"]
    proof = split_proof(b"".join(data for name, data in answers if name == FOLDER_PROOF))
    check_files(world.commit, proof, files, MNIST)


def test_trees_that_packages_share_are_answers_of_their_own(world: Zoo) -> None:
    hub = world.hub()
    found = everything(hub)
    [one, other] = [hub.files(hub.describe(found[name]))[1] for name in (MNIST, SKIPPED)]
    hub.close()

    assert one[:2] == other[:2]
    assert one[2] != other[2]


def test_bytes_come_by_lfs_and_from_the_mirror_when_lfs_lost_them(world: Zoo, tmp_path: Path) -> None:
    path = f"{MNIST}/model/mnist-12.onnx"
    hub = world.hub()

    by_lfs = download(hub, MNIST, "model/mnist-12.onnx", tmp_path / "one.part")
    asked_mirror = list(world.mirror.asked)
    world.lose(path)
    by_mirror = download(hub, MNIST, "model/mnist-12.onnx", tmp_path / "two.part")
    hub.close()

    assert by_lfs == by_mirror == contents()[path]
    assert asked_mirror == []
    assert [where for where, _ in world.mirror.asked] == [f"/resolve/main/{path}"]


def test_second_try_begins_at_the_mirror(world: Zoo, tmp_path: Path) -> None:
    hub = world.hub()

    download(hub, SKIPPED, "tiny_Opset16.onnx", tmp_path / "one.part", first=1)
    hub.close()

    assert [where for where, _ in world.mirror.asked] == [f"/resolve/main/{SKIPPED}/tiny_Opset16.onnx"]


def test_weights_that_are_nowhere_are_an_error_that_names_both_places(world: Zoo, tmp_path: Path) -> None:
    path = f"{LARGE}/small_Opset17.onnx"
    world.lose(path)
    del world.mirror.data[f"/resolve/main/{path}"]
    hub = world.hub()

    with pytest.raises(NotFound) as caught:
        download(hub, LARGE, "small_Opset17.onnx", tmp_path / "one.part")
    hub.close()

    assert world.pointers[path].sha256 in caught.value.message
    assert "small_Opset17.onnx" in caught.value.message
    assert caught.value.message.count(";") == 1


def test_weights_lost_without_a_mirror_name_package_path_and_oid(world: Zoo, tmp_path: Path) -> None:
    path = f"{LARGE}/small_Opset17.onnx"
    world.lose(path)
    hub = world.hub(mirrored=False)

    with pytest.raises(NotFound) as caught:
        download(hub, LARGE, "small_Opset17.onnx", tmp_path / "one.part")
    hub.close()

    for name in (f"onnx:{LARGE}", "small_Opset17.onnx", world.pointers[path].sha256):
        assert name in caught.value.message


def test_one_batch_asks_for_the_objects_of_many_packages(world: Zoo, tmp_path: Path) -> None:
    hub = world.hub()
    found = everything(hub)
    for name in found:
        hub.files(hub.describe(found[name]))

    download(hub, MNIST, "model/mnist-12.onnx", tmp_path / "one.part")
    download(hub, SKIPPED, "tiny_Opset16.onnx", tmp_path / "two.part")
    hub.close()

    assert len(world.git.batches) == 1
    assert len(world.git.batches[0]) == 4


def test_files_of_a_package_further_down_are_not_of_the_one_above() -> None:
    def file(path: str, source: str = "lfs") -> HubFile:
        return HubFile(path=path, size=1, oid=None, source=source)  # type: ignore[arg-type]

    files = [file("a.onnx"), file("b/c.onnx"), file("b/README.md", "git"), file("model/d.onnx")]

    assert [one.path for one in select_own_files("top", files)] == ["a.onnx", "model/d.onnx"]


def test_package_is_the_folder_above_the_models() -> None:
    assert package_of("validated/vision/classification/mnist/model/mnist-12.onnx") == MNIST
    assert package_of("Computer_Vision/a_Opset16/a.onnx") == "Computer_Vision/a_Opset16"
    assert package_of("a.onnx") == ""
    assert task_of("Graph_Machine_Learning/x") == "graph-machine-learning"


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        (b"# a\n## License\n[Apache License 2.0](LICENSE)\n", "apache-2.0"),
        (b"## License\r\n\r\nMIT License\r\n", "mit"),
        (b"## License\nBSD-3-Clause\n", "bsd-3-clause"),
        (b"## License\nAsk us\n", "Ask us"),
        (b"## References\nMIT\n", None),
        (b"## License\n## Next\n", None),
        (b"\xff\xfe", None),
    ],
)
def test_licence_is_read_below_its_heading(readme: bytes, licence: str | None) -> None:
    assert licence_in(readme) == licence


@pytest.mark.parametrize("data", [b"{", b"{}", b"[1]", b"[[]]"])
def test_manifest_that_is_none_is_a_hub_error(data: bytes) -> None:
    with pytest.raises(HubError):
        read_manifest(data)


def real_pointers() -> dict[str, Pointer]:
    with (REAL / "lfs-pointers.tsv").open() as stream:
        rows = csv.DictReader(stream, delimiter="\t")
        return {row["path"]: Pointer(sha256=row["sha256"], size=int(row["size"])) for row in rows}


@pytest.mark.skipif(not REAL.is_dir(), reason="the pointers of the real zoo are not in ../shared/data")
def test_all_pointers_of_the_real_zoo_are_listed_and_described_without_loss(tmp_path: Path) -> None:
    pointers = real_pointers()
    kept = [".gitattributes", ".lfsconfig", "LICENSE", "ONNX_HUB_MANIFEST.json", "README.md"]
    with serve_git(tmp_path) as server:
        files = {**pointers, **{name: (REAL / name).read_bytes() for name in kept}}
        commit = server.commit("onnx/models", files)
        hub = OnnxZoo(server.remote("onnx/models"), Clones(Git({"PATH": "/usr/bin:/bin"}), tmp_path / "work"))
        found = {}
        named = set()
        for listed in everything(hub).values():
            described = hub.describe(listed)
            assert described.identity.commit == commit
            found |= {f"{listed.name}/{file.path}": file for file in hub.files(described)[0]}
            named |= {entry["model_path"] for entry in _manifest(listed)}
        hub.close()

    lfs = {path: (file.oid, file.size) for path, file in found.items() if file.source == "lfs"}
    assert lfs == {path: (f"sha256:{pointer.sha256}", pointer.size) for path, pointer in pointers.items()}
    assert len(lfs) == 2564
    assert sum(size or 0 for _, size in lfs.values()) == 721_064_516_426
    assert len(named) == 184
    assert named < lfs.keys()


def _manifest(listed: Listed) -> list[dict[str, str]]:
    return msgspec.json.decode(listed.raw)["manifest"]
