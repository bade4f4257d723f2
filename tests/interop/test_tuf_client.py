"""A stock python-tuf client, with its own fetcher over HTTP, accepts our channels."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf.api.exceptions import ExpiredMetadataError, LengthOrHashMismatchError
from tuf.ngclient import Updater, UpdaterConfig

from tests.trust.channels import new_keys, publish

pytestmark = pytest.mark.interop


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the base class
        """Say nothing."""


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    keys = new_keys(tmp_path / "keys")
    folder = tmp_path / "channel"
    # A stock client believes the machine's clock alone.
    publish(folder, keys, "2026.11", 1, now=datetime.now(UTC))
    publish(folder, keys, "2026.12", 2, now=datetime.now(UTC))
    return folder


@pytest.fixture
def url(channel: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(channel))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def stock_client(url: str, channel: Path, state: Path) -> Updater:
    for folder in (state / "metadata", state / "targets"):
        folder.mkdir(parents=True, exist_ok=True)
    return Updater(
        str(state / "metadata"),
        f"{url}metadata/",
        str(state / "targets"),
        url,
        config=UpdaterConfig(prefix_targets_with_hash=False),
        bootstrap=(channel / "metadata" / "1.root.json").read_bytes(),
    )


@pytest.mark.parametrize(
    "path", ["releases/2026.11/release.json", "releases/2026.12/release.json.minisig", "keys/minisign.pub"]
)
def test_a_stock_client_refreshes_and_downloads_every_target(
    url: str, channel: Path, tmp_path: Path, path: str
) -> None:
    client = stock_client(url, channel, tmp_path / "state")
    client.refresh()
    info = client.get_targetinfo(path)
    assert info is not None
    assert Path(client.download_target(info)).read_bytes() == (channel / path).read_bytes()


def test_a_stock_client_finds_the_sequence_and_the_content_root(url: str, channel: Path, tmp_path: Path) -> None:
    info = stock_client(url, channel, tmp_path / "state").get_targetinfo("releases/2026.12/release.json")
    assert info is not None
    assert info.custom["sequence"] == 2
    assert len(info.custom["content_root"]) == 64


def test_a_stock_client_refuses_a_changed_release(url: str, channel: Path, tmp_path: Path) -> None:
    client = stock_client(url, channel, tmp_path / "state")
    info = client.get_targetinfo("releases/2026.12/release.json")
    assert info is not None
    path = channel / "releases" / "2026.12" / "release.json"
    path.write_bytes(path.read_bytes().replace(b'"sequence":2', b'"sequence":3'))
    with pytest.raises(LengthOrHashMismatchError):
        client.download_target(info)


def test_a_stock_client_refuses_an_expired_channel(url: str, channel: Path, tmp_path: Path) -> None:
    keys = new_keys(tmp_path / "other-keys")
    for path in (channel / "metadata").iterdir():
        path.unlink()
    publish(channel, keys, "old", 1, now=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(ExpiredMetadataError):
        stock_client(url, channel, tmp_path / "state").refresh()
