"""The contract of hub adapters. A new adapter is one more entry in `HUBS`: a sample hub, and the adapter to it.

A hub need not count downloads, have pages, know LFS or close packages; what it has is held to what the port says.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ptmtorrent.demo.packages import sample_packages
from ptmtorrent.demo.sample_hub import SampleHub
from ptmtorrent.errors import AuthError, NotFound, PtmError
from ptmtorrent.hubs.client.download import Download
from ptmtorrent.hubs.folder import FolderHub
from ptmtorrent.hubs.huggingface.adapter import HuggingFace
from ptmtorrent.hubs.kaggle.adapter import KaggleModels
from ptmtorrent.hubs.port import Hub, Listed, Query
from ptmtorrent.model.pointers import git_blob_id
from tests.hubs.catalogues_samples import KINDS, serve_catalogue
from tests.hubs.git.samples import fill, remotes
from tests.hubs.kaggle.samples import fill as fill_kaggle
from tests.hubs.onnx.samples import zoo
from tests.hubs.tfhub.samples import tensorflow
from tests.simulators.git_server import serve_git
from tests.simulators.kaggle import serve_kaggle


@contextmanager
def huggingface() -> Iterator[Hub]:
    with SampleHub(sample_packages(), page=5) as served:
        hub = HuggingFace(served.endpoint)
        try:
            yield hub
        finally:
            hub.close()
        assert served.log.failures == []


@contextmanager
def git() -> Iterator[Hub]:
    with TemporaryDirectory() as folder:
        served = Path(folder, "served")
        served.mkdir()
        with serve_git(served) as server, remotes(server, Path(folder, "work"), fill(server)) as hub:
            yield hub


@contextmanager
def linked_hub(kind: str) -> Iterator[Hub]:
    with TemporaryDirectory() as folder, serve_catalogue(kind, Path(folder)) as world:
        hub = world.hub()
        try:
            yield hub
        finally:
            hub.close()


@contextmanager
def kaggle() -> Iterator[Hub]:
    with serve_kaggle() as state:
        fill_kaggle(state)
        hub = KaggleModels(state.url)
        try:
            yield hub
        finally:
            hub.close()


@contextmanager
def onnx() -> Iterator[Hub]:
    with TemporaryDirectory() as folder, zoo(Path(folder)) as world:
        hub = world.hub()
        try:
            yield hub
        finally:
            hub.close()


@contextmanager
def folders() -> Iterator[Hub]:
    with TemporaryDirectory() as folder:
        for name in ("team/one", "two"):
            place = Path(folder, name, "sub")
            place.mkdir(parents=True)
            (place / "model.bin").write_bytes(name.encode() * 1000)
            (place.parent / "README.md").write_text("# it\n")
            (place / "link").symlink_to("../README.md")
        yield FolderHub(folder)


@contextmanager
def tfhub() -> Iterator[Hub]:
    with TemporaryDirectory() as folder, tensorflow(Path(folder)) as world:
        hub = world.hub()
        try:
            yield hub
        finally:
            hub.close()


HUBS: dict[str, Callable[[], AbstractContextManager[Hub]]] = {
    "huggingface": huggingface,
    "git": git,
    "kaggle": kaggle,
    "onnx": onnx,
    "tfhub": tfhub,
    "dir": folders,
    **{kind: partial(linked_hub, kind) for kind in KINDS},
}


@pytest.fixture(params=HUBS)
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    with HUBS[request.param]() as made:
        yield made


def is_promised(oid: str, data: bytes) -> bool:
    sha256 = hashlib.sha256(data).hexdigest()
    sort, _, digest = oid.partition(":")
    if sort == "sha256-prefix":
        return len(digest) >= 8 and sha256.startswith(digest)
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return oid in {f"git:{git_blob_id(data)}", f"sha256:{sha256}", f"md5:{md5}"}


def everything(hub: Hub, query: Query | None = None) -> list[Listed]:
    return [listed for page in hub.listing(query or Query(), None) for listed in page.packages]


def public(hub: Hub) -> list[Listed]:
    return [listed for listed in everything(hub) if listed.access == "public"]


def test_listing_names_every_package_once(hub: Hub) -> None:
    found = [listed.name for listed in everything(hub)]

    assert found
    assert len(found) == len(set(found))


def test_listing_can_go_on_from_the_cursor_of_any_page(hub: Hub) -> None:
    pages = list(hub.listing(Query(), None))
    rest = [page.cursor for page in pages[:-1]]

    assert pages
    assert pages[-1].cursor is None
    for index, cursor in enumerate(rest):
        assert next(hub.listing(Query(), cursor)) == pages[index + 1]


def test_listing_is_in_order_of_popularity(hub: Hub) -> None:
    counts = [listed.downloads or 0 for listed in everything(hub)]

    assert counts == sorted(counts, reverse=True)


def test_named_packages_are_listed_as_asked_for(hub: Hub) -> None:
    wanted = tuple(listed.name for listed in public(hub)[:2])

    assert [listed.name for listed in everything(hub, Query(ids=wanted))] == list(wanted)


def test_name_the_hub_does_not_have_is_gone_and_not_found(hub: Hub) -> None:
    [listed] = everything(hub, Query(ids=("nobody/nothing",)))

    assert listed.access == "gone"
    with pytest.raises(NotFound):
        hub.describe(listed)
    with pytest.raises(NotFound):
        hub.foresee(listed)


def test_what_a_listing_says_of_files_is_true(hub: Hub) -> None:
    for listed in everything(hub, Query(files=True)):
        try:
            described = hub.describe(listed)
        except PtmError as error:
            with suppress(type(error)):  # or the listing does not say so
                hub.foresee(listed)
            continue
        said = hub.foresee(listed)
        files = [file for file in hub.files(described)[0] if file.answer is None]
        assert said.files in {None, len(files)}
        if hub.prefix != "hf":  # whose records count parameters
            assert said.bytes in {None, sum(file.size or 0 for file in files)}
        hub.release(described)


def test_every_package_is_pinned_to_a_commit_and_keeps_what_the_hub_said(hub: Hub) -> None:
    for listed in public(hub):
        described = hub.describe(listed)

        assert described.identity.hub == hub.prefix
        assert described.identity.name == listed.name
        assert described.identity.commit
        assert all(answer for _, answer in described.answers)


def test_files_are_sorted_and_come_with_the_answers_that_listed_them(hub: Hub) -> None:
    files, answers = hub.files(hub.describe(public(hub)[0]))

    assert [file.path for file in files] == sorted((file.path for file in files), key=str.encode)
    assert files
    assert answers


def test_located_bytes_are_those_the_hub_promised(hub: Hub, tmp_path: Path) -> None:
    for number, listed in enumerate(public(hub)[:4]):
        described = hub.describe(listed)
        for file in hub.files(described)[0]:
            part = tmp_path / f"{number}.part"
            part.unlink(missing_ok=True)
            Download(
                session=hub.session,
                locate=lambda described=described, file=file: hub.locate(described, file),  # type: ignore[misc]
                file=file,
                what=f"`{file.path}`",
                part=part,
                count=lambda *_: None,
                stop=hub.session.stop,
            ).run()
            data = part.read_bytes()

            assert file.size in {None, len(data)}
            assert file.oid is None or is_promised(file.oid, data)


def test_closed_package_is_an_auth_error(hub: Hub) -> None:
    closed = [listed for listed in everything(hub) if listed.access in {"gated", "private"}]
    if not closed:
        pytest.skip("the sample of this hub has no closed package")

    with pytest.raises(AuthError, match=closed[0].name):
        hub.files(hub.describe(closed[0]))
