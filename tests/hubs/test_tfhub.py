import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import HubError, NotFound
from ptmtorrent.hubs.session import Session
from ptmtorrent.hubs.tfhub import find_on_kaggle, kaggle_name, read_document
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

    assert kaggle_name(url) == ("google/movenet/tensorFlow2/singlepose-lightning", "4")


@pytest.mark.parametrize("url", ["", "http://[", "https://kaggle.com/models/a", "https://x/models/../b/c/d/1"])
def test_address_of_no_model_is_not_found(url: str) -> None:
    with pytest.raises(NotFound):
        kaggle_name(url)


def test_handle_is_found_where_the_closed_hub_redirects_to(session: Session) -> None:
    with serve_assets() as assets:
        assets.moved["/o/m/4"] = "/models/o/m/tensorFlow2/v/2?tfhub-redirect=true"
        assets.data["/models/o/m/tensorFlow2/v/2"] = b"<html>"

        assert find_on_kaggle(session, "o/m/4", assets.url) == ("o/m/tensorFlow2/v", "2")
        with pytest.raises(NotFound):
            find_on_kaggle(session, "o/gone/1", assets.url)
