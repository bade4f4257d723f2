import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import HubError, NotFound
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.port import Listed, Query
from ptmtorrent.hubs.tfhub.adapter import TensorFlowHub
from ptmtorrent.hubs.tfhub.documents import KagglePlace, find_on_kaggle, parse_kaggle_url, read_document
from tests.hubs.tfhub.samples import tensorflow
from tests.program import ptmtorrent
from tests.simulators.assets import serve_assets

REAL = Path("../shared/data/tfhub/tfhub.dev-docs.tar.gz")


@pytest.mark.skipif(not REAL.is_file(), reason="the real documents are not here")
def test_all_real_documents_are_read_and_have_keys_of_their_own() -> None:
    with tarfile.open(REAL) as archive:
        found = [
            read_document(member.name, stream.read())
            for member in archive
            if member.name.startswith("assets/docs/")
            and member.name.endswith(".md")
            and (stream := archive.extractfile(member)) is not None
        ]

    assert len(found) == 2819
    assert Counter(document.kind for document in found)["Module"] == 1815
    assert len({(document.kind, document.handle) for document in found}) == 2819
    assert len({document.handle for document in found}) == 2819 - 112
    assert sum(bool(document.values("license")) for document in found) == 320


def test_document_gives_handle_description_and_repeated_tags() -> None:
    read = read_document("a.md", b"# Module o/m/4\nOne\nsentence.\n\n<!-- task: a -->\n<!-- task: b -->\n\n## More\n")

    assert (read.kind, read.handle, read.description) == ("Module", "o/m/4", "One sentence.")
    assert read.values("task") == ("a", "b")


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"# Module {text}".encode(errors="replace")))
def test_any_bytes_are_a_document_or_refused(data: bytes) -> None:
    try:
        assert read_document("a.md", data).handle
    except HubError as error:
        assert "a.md" in error.message  # noqa: PT017


def test_address_on_kaggle_gives_package_and_version() -> None:
    url = "https://www.kaggle.com/models/google/movenet/tensorFlow2/singlepose-lightning/4?tfhub-redirect=true"

    assert parse_kaggle_url(url) == ("google/movenet/tensorFlow2/singlepose-lightning", "4")


@pytest.mark.parametrize("url", ["", "http://[", "https://kaggle.com/models/a", "https://x/models/../b/c/d/1"])
def test_address_of_no_model_is_not_found(url: str) -> None:
    with pytest.raises(NotFound):
        parse_kaggle_url(url)


def test_handle_is_found_where_the_closed_hub_redirects_to(session: Session) -> None:
    with serve_assets() as assets:
        assets.moved["/o/m/4"] = "/models/o/m/tensorFlow2/v/2?tfhub-redirect=true"
        assets.data["/models/o/m/tensorFlow2/v/2"] = b"<html>"

        assert find_on_kaggle(session, "o/m/4", assets.url) == KagglePlace(
            origin=assets.url, name="o/m/tensorFlow2/v", version="2"
        )
        with pytest.raises(NotFound):
            find_on_kaggle(session, "o/gone/1", assets.url)


def everything(hub: TensorFlowHub) -> dict[str, Listed]:
    [page] = hub.listing(Query(), None)
    return {listed.name: listed for listed in page.packages}


def test_modules_and_deployments_are_packages_and_pages_are_not(tmp_path: Path) -> None:
    with tensorflow(tmp_path) as world:
        hub = world.hub()
        found = everything(hub)
        hub.close()

    assert list(found) == ["lite/team/small/1", "team/small/0", "team/small/1"]
    assert found["team/small/0"].licence == "apache-2.0"
    assert found["team/small/0"].task == "image-pose-detection"


def test_handle_is_pinned_to_the_version_it_leads_to_or_the_newest(tmp_path: Path) -> None:
    with tensorflow(tmp_path) as world:
        world.lead("team/small/0", "team/small/tensorFlow2/v-0/2")
        hub = world.hub()
        found = everything(hub)
        described = [hub.describe(found[f"team/small/{number}"]) for number in range(2)]
        hub.close()

    assert [one.identity.commit for one in described] == ["2", "3"]
    assert [name for name, _ in described[0].answers] == ["record", "place"]


def test_modules_are_cloned_by_their_old_names(tmp_path: Path) -> None:
    with tensorflow(tmp_path) as world:
        del world.redirector.moved["/team/small/0"]
        typed = ("clone", "tfhub", "--endpoint", world.endpoint, "--mirror", world.redirector.url)
        events = ptmtorrent(tmp_path / "home", *typed, code=3)
        checked = ptmtorrent(tmp_path / "home", "verify", "--store")

    results = {event["id"]: event for event in events if event["type"] == "result"}
    assert {name: result["status"] for name, result in results.items()} == {
        "tfhub:lite/team/small/1": "ok",
        "tfhub:team/small/1": "ok",
        "tfhub:team/small/0": "error",
    }
    assert "was not moved to Kaggle" in results["tfhub:team/small/0"]["reason"]
    assert checked[-1]["failed"] == 0


@pytest.mark.skipif(not REAL.is_file(), reason="the real documents are not here")
def test_all_real_modules_are_listed_and_described_without_loss(tmp_path: Path) -> None:
    with tarfile.open(REAL) as archive:
        documents = {
            member.name: stream.read()
            for member in archive
            if member.isfile() and (stream := archive.extractfile(member)) is not None
        }
    with tensorflow(tmp_path) as world:
        world.git.commit("tensorflow/tfhub.dev", documents)
        hub = world.hub()
        found = everything(hub)
        modules = [listed for listed in found.values() if '"kind":"Module"' in listed.raw]
        for number, listed in enumerate(modules):
            world.lead(listed.name, f"o/m{number}/tensorFlow2/v/{number + 1}")
        described = [hub.describe(listed) for listed in modules]
        hub.close()

    assert len(found) == 1815 + 372 + 358 + 3
    assert len(modules) == 1815
    assert [one.identity.commit for one in described] == [str(number + 1) for number in range(1815)]
