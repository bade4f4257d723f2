"""The unmodified huggingface_hub and `hf` are the judges of the sample hub."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ptmtorrent.demo.bulk import bulk_packages
from ptmtorrent.demo.families import BASE, INK, MINI
from ptmtorrent.demo.hub.faults import Faults, Quota
from ptmtorrent.demo.package import Package
from ptmtorrent.demo.packages import sample_packages
from ptmtorrent.demo.sample_hub import TOKEN, SampleHub

GATED = "guarded/herd-8k"


@pytest.fixture(scope="module")
def packages() -> dict[str, Package]:
    return {package.name: package for package in sample_packages()}


@pytest.fixture(scope="module")
def hub(packages: dict[str, Package]) -> Iterator[SampleHub]:
    with SampleHub(packages.values(), page=10) as hub:
        yield hub
    assert hub.log.failures == []


@pytest.fixture
def api(hub: SampleHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)


def assert_equal_files(folder: Path, package: Package) -> None:
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.relative_to(folder).parts
    }
    assert found == {file.path: b"".join(file.content.chunks(0, file.content.size)) for file in package.files}


def test_listing_is_paged_and_complete(api: HfApi, hub: SampleHub, packages: dict[str, Package]) -> None:
    hub.log.clear()
    listed = list(api.list_models(full=True))
    assert {model.id for model in listed} == set(packages)
    assert len(hub.log.exchanges("hub", "/api/models")) == 3


def test_listing_sorts_by_downloads_and_keeps_missing_counts_missing(api: HfApi) -> None:
    listed = list(api.list_models(sort="downloads", expand=["downloads", "sha", "siblings", "gated"]))
    counts = [model.downloads or 0 for model in listed]
    assert counts == sorted(counts, reverse=True)
    assert [model.id for model in listed if model.downloads is None] == ["attic/legacy-embeddings"]


def test_listing_filters(api: HfApi) -> None:
    assert {model.id for model in api.list_models(author="quill-lab")} == {
        "quill-lab/quill-base",
        "quill-lab/quill-base-news",
        "quill-lab/quill-embed",
    }
    assert [model.id for model in api.list_models(gated=True)] == [GATED]
    assert [model.id for model in api.list_models(filter="license:cc-by-nc-4.0")] == ["acoustics/speech-tiny"]
    assert {model.id for model in api.list_models(search="PAPYRUS", pipeline_tag="fill-mask")} == {
        MINI,
        "papyrus/papyrus-mini-fp16",
    }


def test_model_info_gives_hashes_of_every_file(api: HfApi, packages: dict[str, Package]) -> None:
    info = api.model_info(BASE, files_metadata=True)
    siblings = info.siblings or []
    assert {(each.rfilename, each.size) for each in siblings} == {
        (file.path, file.content.size) for file in packages[BASE].files
    }
    assert [each.rfilename for each in siblings if each.lfs] == ["model.safetensors"]
    assert info.card_data is not None
    assert info.card_data.license == "apache-2.0"
    assert api.model_info(BASE, revision=info.sha).sha == info.sha
    assert info.config == {"architectures": ["QuillForSequenceClassification"], "model_type": "quill"}
    assert info.safetensors is not None
    assert info.safetensors.parameters == {"BF16": info.safetensors.total}


def test_tree_refs_commits_and_paths(api: HfApi) -> None:
    paths = [entry.path for entry in api.list_repo_tree("archive/deep-and-long", recursive=True, expand=True)]
    assert len(paths) == 16  # twelve folders and four files: two pages
    refs = api.list_repo_refs(BASE)
    assert [commit.commit_id for commit in api.list_repo_commits(BASE)] == [refs.branches[0].target_commit]
    infos = api.get_paths_info("world/names", ["权重/模型.safetensors", "权重", "absent"])
    assert [info.path for info in infos] == ["权重/模型.safetensors", "权重"]


@pytest.mark.parametrize("name", [BASE, INK, "world/names", "Case-Lab/case-study", "newcomer/placeholder"])
def test_snapshot_into_hf_cache_is_byte_equal(
    name: str, hub: SampleHub, packages: dict[str, Package], tmp_path: Path
) -> None:
    folder = snapshot_download(name, endpoint=hub.endpoint, cache_dir=tmp_path, token=False)
    assert_equal_files(Path(folder), packages[name])


@pytest.mark.parametrize("name", ["archive/deep-and-long", "painter/tiny-diffusion"])
def test_snapshot_into_a_folder_is_byte_equal(
    name: str, hub: SampleHub, packages: dict[str, Package], tmp_path: Path
) -> None:
    folder = snapshot_download(name, endpoint=hub.endpoint, local_dir=tmp_path, token=False)
    assert_equal_files(Path(folder), packages[name])


def test_token_never_reaches_the_second_origin(hub: SampleHub, packages: dict[str, Package], tmp_path: Path) -> None:
    hub.log.clear()
    folder = snapshot_download(GATED, endpoint=hub.endpoint, local_dir=tmp_path, token=TOKEN)
    assert_equal_files(Path(folder), packages[GATED])
    assert all(exchange.authorized for exchange in hub.log.exchanges("hub"))
    assert [exchange.authorized for exchange in hub.log.exchanges("lfs")] == [False]


@pytest.mark.parametrize("token", [False, "hf_other"])
def test_gated_package_is_refused(token: str | bool, hub: SampleHub, tmp_path: Path) -> None:
    with pytest.raises(GatedRepoError):
        hf_hub_download(GATED, "model.safetensors", endpoint=hub.endpoint, cache_dir=tmp_path, token=token)


def test_errors_are_told_apart(api: HfApi, hub: SampleHub, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("no/such")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(BASE, revision="no-such")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(BASE, "no-such", endpoint=hub.endpoint, cache_dir=tmp_path, token=False)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_other")  # noqa: S106  # it opens nothing
    assert api.whoami(token=TOKEN)["name"] == "sample-user"


def test_quota_answers_429_with_how_long_to_wait(packages: dict[str, Package]) -> None:
    with SampleHub([packages[BASE]], quota=Quota(api=1, window_seconds=60), monotonic=lambda: 0.0) as hub:
        api = HfApi(endpoint=hub.endpoint, token=False)
        api.model_info(BASE)
        with pytest.raises(HfHubHTTPError) as caught:
            api.model_info(BASE)
    assert caught.value.response.status_code == 429
    assert caught.value.response.headers["RateLimit"] == '"api";r=0;t=61'
    assert caught.value.response.headers["Retry-After"] == "61"


def test_client_resumes_a_dropped_connection_by_range(tmp_path: Path) -> None:
    (package,) = bulk_packages(1, 24 << 20)  # the client keeps what came in whole chunks of 10 MiB
    with SampleHub([package], faults=Faults(drop_after=15 << 20)) as hub:
        folder = snapshot_download(package.name, endpoint=hub.endpoint, local_dir=tmp_path, token=False)
        ranges = [exchange.range for exchange in hub.log.exchanges("lfs")]
    assert ranges == [None, f"bytes={10 << 20}-"]
    assert_equal_files(Path(folder), package)


def test_vanished_package_is_listed_and_gone(packages: dict[str, Package], tmp_path: Path) -> None:
    with SampleHub([packages[BASE]], faults=Faults(vanished=frozenset({BASE}))) as hub:
        assert [model.id for model in HfApi(endpoint=hub.endpoint, token=False).list_models()] == [BASE]
        with pytest.raises((RepositoryNotFoundError, LocalEntryNotFoundError)):
            snapshot_download(BASE, endpoint=hub.endpoint, cache_dir=tmp_path, token=False)


def test_hf_command_line_downloads_a_served_folder(tmp_path: Path) -> None:
    program = shutil.which("hf", path=str(Path(sys.executable).parent)) or shutil.which("hf")
    if program is None:
        pytest.skip("the `hf` program is not installed")
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "weights.bin").write_bytes(os.urandom(3 << 20))
    (folder / "config.json").write_text("{}")
    package = Package.from_folder("any/folder", folder)
    with SampleHub([package]) as hub:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        command = [program, "download", "any/folder", "--local-dir", str(tmp_path / "out")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert_equal_files(tmp_path / "out", package)
