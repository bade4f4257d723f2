"""The unmodified huggingface_hub is the judge of the odd hub, as far as what it does is what the real one does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError

from ptmtorrent.demo.package import Package, data_file, text_file
from tests.simulators.huggingface import OddHub
from tests.workflows.cloning import WEIGHTS

DATE = "2026-01-02T03:04:05.000Z"
OLDEST = Package(name="gpt2", files=(text_file("README.md", "one"), data_file("model.bin", WEIGHTS)))


def commit(number: int) -> dict[str, Any]:
    authors = [{"user": "quill"}]
    return {"id": f"{number:040x}", "title": f"Change {number}", "message": "", "authors": authors, "date": DATE}


def discussion(number: int) -> dict[str, Any]:
    who = {"name": "quill"}
    said = {"edited": False, "hidden": False, "latest": {"raw": f"said {number}"}}
    return {
        "num": number,
        "title": f"Question {number}",
        "author": who,
        "createdAt": DATE,
        "status": "open",
        "repo": {"name": "gpt2", "type": "model"},
        "isPullRequest": False,
        "events": [{"id": "1", "type": "comment", "createdAt": DATE, "author": who, "data": said}],
    }


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[OddHub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with OddHub([OLDEST], xet=True, sign=True) as hub:
        hub.commits["gpt2"] = [commit(number) for number in range(5)]
        hub.discussions["gpt2"] = [discussion(number) for number in range(1, 6)]
        yield hub
    assert hub.log.failures == []


@pytest.fixture
def api(hub: OddHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


def test_package_without_a_namespace_is_described(api: HfApi) -> None:
    assert api.model_info("gpt2").id == "gpt2"
    assert {each.path for each in api.list_repo_tree("gpt2")} == {"README.md", "model.bin"}


def test_file_in_xet_storage_is_read_by_its_own_client(
    hub: OddHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    path = hf_hub_download("gpt2", "model.bin", endpoint=hub.endpoint, token=False, cache_dir=tmp_path)

    assert Path(path).read_bytes() == WEIGHTS
    assert len(hub.log.exchanges("cas", "/xorbs/")) == 1
    assert hub.log.exchanges("lfs") == []


def test_old_name_leads_to_the_new_one_which_keeps_its_id(api: HfApi, hub: OddHub, tmp_path: Path) -> None:
    before = api.model_info("gpt2")
    hub.rename("gpt2", "openai-community/gpt2")
    now = api.model_info("gpt2")

    assert (before.id, now.id) == ("gpt2", "openai-community/gpt2")
    assert before.__dict__["_id"] == now.__dict__["_id"]
    path = hf_hub_download("gpt2", "model.bin", endpoint=hub.endpoint, token=False, cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS


def test_earlier_commit_is_there_until_the_history_is_squashed(api: HfApi, hub: OddHub, tmp_path: Path) -> None:
    first = api.model_info("gpt2").sha
    hub.add(Package(name="gpt2", files=(text_file("README.md", "two"),)))

    def read(folder: str) -> str:
        where = tmp_path / folder
        return Path(
            hf_hub_download("gpt2", "README.md", revision=first, endpoint=hub.endpoint, token=False, cache_dir=where)
        ).read_text()

    assert read("before") == "one"
    assert api.model_info("gpt2").sha != first


def test_withdrawn_package_is_not_found(api: HfApi, hub: OddHub) -> None:
    hub.withdraw("gpt2")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("gpt2")


def test_files_of_xet_come_by_one_signed_address(hub: OddHub, api: HfApi, tmp_path: Path) -> None:
    [info] = api.get_paths_info("gpt2", ["model.bin"])
    assert info.lfs is not None
    path = hf_hub_download("gpt2", "model.bin", endpoint=hub.endpoint, token=False, cache_dir=tmp_path)

    assert Path(path).read_bytes() == WEIGHTS


def test_commits_are_listed_page_by_page(api: HfApi, hub: OddHub) -> None:
    found = api.list_repo_commits("gpt2")

    assert [each.title for each in found] == [f"Change {number}" for number in range(5)]
    assert len(hub.log.exchanges("hub", "/commits/")) == 3


def test_discussions_are_listed_page_by_page_and_told_in_full(api: HfApi) -> None:
    found = list(api.get_repo_discussions("gpt2"))

    assert [each.num for each in found] == [1, 2, 3, 4, 5]
    [event] = api.get_discussion_details("gpt2", 4).events
    assert getattr(event, "content", None) == "said 4"
