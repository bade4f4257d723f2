import json
from pathlib import Path

import pytest

from ptmtorrent.errors import HubError, IntegrityError, PtmError
from ptmtorrent.hubs.catalogues import Link, Weight
from ptmtorrent.hubs.git.clones import Clones
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.modelhub.adapter import Modelhub, read_init, read_registry
from ptmtorrent.hubs.modelhub.config import CONFIG, LICENCE, with_config
from ptmtorrent.hubs.modelzoo import ModelZoo, read_catalogue
from ptmtorrent.hubs.port import Listed

REAL = Path("../shared/data/modelhub")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real registry is not here")
def test_all_real_entries_are_listed() -> None:
    assert len(read_registry((REAL / "models.json").read_bytes())) == 33
    found = {path.parent.name: read_init(path.read_bytes()) for path in REAL.glob("*/init_init.json")}
    assert len(found) == 12
    assert [weight.path for weight in found["yolo-v3"]] == ["contrib_src/model/model.h5"]


def test_mail_addresses_are_dropped_wherever_they_stand() -> None:
    row = {"name": "a", "email": "a@hub.invalid", "publication": {"Email": "b@hub.invalid", "authors": "A"}}

    [listed] = read_registry(json.dumps([row]).encode())

    assert "@" not in listed.raw
    assert "authors" in listed.raw


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"", b'[{"name": "a"}, {"name": "a"}]', b"[{}]", b"[" * 100_000])
def test_registry_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(HubError):
        read_registry(body)


@pytest.mark.parametrize("path", ["../a", "/../a", "//a", "a/../../b", "", ".git/a", "a\0b"])
def test_path_out_of_the_package_is_refused(path: str) -> None:
    body = {"external_contrib_files": [{"src_url": "http://host/a", "dest_file_path": path}]}

    with pytest.raises(IntegrityError):
        read_init(json.dumps(body).encode())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a", ""])
def test_address_that_is_none_is_refused(url: str) -> None:
    body = {"external_contrib_files": [{"src_url": url, "dest_file_path": "a"}]}

    with pytest.raises(HubError, match="not a URL"):
        read_init(json.dumps(body).encode())


def test_catalogue_leaves_out_what_has_no_slug() -> None:
    rows = [{"slug": "a", "link": "http://host/o/n"}, {"title": "b"}, {"slug": "a"}, {"slug": "c/d"}, {"slug": ".."}]

    assert [listed.name for listed in read_catalogue(json.dumps({"models": rows}).encode(), "it")] == ["a"]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real configurations are not here")
def test_all_real_configurations_give_task_data_set_architecture_and_licence() -> None:
    found = {}
    for folder in sorted(path for path in REAL.iterdir() if path.is_dir()):
        texts = {CONFIG: "model_config.json", LICENCE: "license_model"}
        found[folder.name] = with_config(
            Listed(name=folder.name),
            lambda path, folder=folder, texts=texts: (folder / texts[path]).read_bytes(),  # type: ignore[misc]
        )

    assert len(found) == 12
    for listed in found.values():
        kinds = {tag.partition(":")[0] for tag in listed.tags}
        assert listed.task
        assert {"architecture", "dataset", "learning"} <= kinds
        assert "@" not in "".join(listed.tags)
    assert found["squeezenet"].task == "Classification"
    assert "arxiv:1602.07360" in found["squeezenet"].tags
    assert found["squeezenet"].licence == "apache-2.0"
    assert found["xception"].licence == "mit"
    assert {listed.licence for listed in found.values()} == {"mit", "apache-2.0"}


@pytest.mark.parametrize("data", [None, b"", b"[1]", b"{", b'{"meta": 3, "model": [], "publication": {"url": 5}}'])
def test_configuration_that_is_none_adds_nothing(data: bytes | None) -> None:
    listed = Listed(name="x", task="t", tags=("a",))

    assert with_config(listed, lambda path: data if path == CONFIG else None) == listed


@pytest.mark.parametrize(
    ("rows", "error", "reason"),
    [
        ([{"src_url": 3}], HubError, r"`init/init\.json` could not be read: "),
        ({"a": 1}, HubError, r"`init/init\.json` could not be read: "),
        ([{"src_url": "http://host/a", "dest_file_path": "a"}] * 1001, HubError, "names 1,001 files, over the limit"),
        (
            [{"src_url": f"http://host/{end}", "dest_file_path": path} for end, path in (("a", "/a"), ("b", "a"))],
            IntegrityError,
            "names two URLs for `a`",
        ),
    ],
)
def test_files_that_cannot_be_named_so_are_refused(rows: object, error: type[PtmError], reason: str) -> None:
    with pytest.raises(error, match=reason):
        read_init(json.dumps({"external_contrib_files": rows}).encode())


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_init_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(HubError, match=r"`init/init\.json` could not be read"):
        read_init(body)


def test_file_that_is_named_twice_alike_is_one() -> None:
    row = {"src_url": " http://host/a ", "dest_file_path": "/a"}
    assert read_init(json.dumps({"external_contrib_files": [row, row]}).encode()) == [
        Weight(url="http://host/a", path="a")
    ]
    assert read_init(b'{"external_contrib_files":null}') == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"models":{}}', b'{"models":[1]}', b"[" * 100_000])
def test_catalogue_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(HubError, match=r"^it could not be read: not a list of models: "):
        read_catalogue(body, "it")


@pytest.mark.parametrize(
    ("link", "remote"),
    [
        ("https://host/o/n", "https://host/o/n"),
        ("https://host/o/n.git?a=b#c", "https://host/o/n"),
        ("http://host//o/n/tree/main", "http://host/o/n"),
    ],
)
def test_remote_of_a_record_is_that_of_its_link(tmp_path: Path, link: str, remote: str) -> None:
    hub = ModelZoo("http://zoo", Clones(Git({}), tmp_path))
    assert hub.link(Listed(name="x", raw=json.dumps({"link": link}))) == Link(remote=remote)


@pytest.mark.parametrize(
    "link",
    [3, "", "ftp://host/o/n", "https://u:p@host/o/n", "https://host", "https://host/o", "https://host/o/?/n"],
)
def test_record_that_links_to_no_remote_is_refused(tmp_path: Path, link: object) -> None:
    hub = ModelZoo("http://zoo", Clones(Git({}), tmp_path))
    with pytest.raises(HubError, match="which is not the URL of a git remote"):
        hub.link(Listed(name="x", raw=json.dumps({"link": link})))


def test_record_without_a_link_has_no_remote(tmp_path: Path) -> None:
    hub = ModelZoo("http://zoo", Clones(Git({}), tmp_path))
    assert hub.link(Listed(name="x", raw='{"link":null}')) is None
    with pytest.raises(HubError, match="which is not the URL of a git remote"):
        hub.link(Listed(name="x", raw="{}"))


@pytest.mark.parametrize("url", [None, 3, "", "git@host:o/n", "file:///o/n", "https://u:p@host/o/n"])
def test_entry_without_a_remote_is_refused(tmp_path: Path, url: object) -> None:
    hub = Modelhub("http://hub", Clones(Git({}), tmp_path))
    with pytest.raises(HubError, match="not the URL of a git remote"):
        hub.link(Listed(name="x", raw=json.dumps({"github": url})))
    good = {"github": "https://host/o/n", "github_branch": "main"}
    assert hub.link(Listed(name="x", raw=json.dumps(good))) == Link(remote="https://host/o/n", ref="main")
