"""After every verb of a maintainer that ends with 0, a stock TUF client and `fetch` from another home succeed."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tuf.ngclient import Updater, UpdaterConfig

from tests.program import environment, ptmtorrent
from tests.static import serve_folder

pytestmark = pytest.mark.interop

ALL = ("--include", "unknown")


class Maintainer:
    """A home with a folder of models, a directory to publish to, and readers that keep what they saw."""

    def __init__(self, root: Path) -> None:
        self.root, self.home, self.to = root, root / "maintainer", root / "www"
        self.models = root / "models"
        self.write("one")
        self.run("clone", "dir", "--endpoint", self.models)
        self.run("keys", "init", "--no-passphrase")
        self.run("release", "a", *ALL)

    def run(self, *arguments: object, code: int = 0, env: dict[str, str] | None = None) -> list[dict[str, Any]]:
        return ptmtorrent(self.home, *arguments, code=code, env=env)

    def write(self, text: str) -> None:
        folder = self.models / "org/model"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(f'{{"text": "{text}"}}')

    def second(self) -> None:
        self.write("two")
        self.run("clone", "dir", "--endpoint", self.models)
        self.run("release", "b", *ALL)

    def publish(self, name: str, **options: Any) -> None:
        self.run("publish", name, "--to", self.to, **options)

    def fingerprint(self) -> str:
        return str(self.run("keys", "show", "--fingerprint")[0]["fingerprint"])

    def check_readers(self, text: str, env: dict[str, str] | None = None) -> None:
        """Fetch `text` with our client, and refresh a stock one, over HTTP, each with what it remembers."""
        with serve_folder(self.to) as url:
            reader = self.root / "reader"
            ptmtorrent(reader, "trust", "add", url, "--fingerprint", self.fingerprint(), env=env)
            place = self.root / "fetched"
            shutil.rmtree(place, ignore_errors=True)
            ptmtorrent(reader, "fetch", "dir:org/model", "--channel", url, "--to", place, env=env)
            assert (place / "dir/org/model/config.json").read_text() == f'{{"text": "{text}"}}'
            self.refresh_stock_client(url)

    def refresh_stock_client(self, url: str) -> None:
        state = self.root / "stock"
        for folder in (state / "metadata", state / "targets"):
            folder.mkdir(parents=True, exist_ok=True)
        client = Updater(
            str(state / "metadata"),
            f"{url}/metadata/",
            str(state / "targets"),
            f"{url}/",
            config=UpdaterConfig(prefix_targets_with_hash=False),
            bootstrap=(self.home / "channel/metadata/1.root.json").read_bytes(),
        )
        client.refresh()
        listed = [path.name for path in (self.to / "releases").iterdir()]
        for name in listed:
            info = client.get_targetinfo(f"releases/{name}/release.json")
            assert info is not None
            client.download_target(info)


@pytest.fixture
def maintainer(tmp_path: Path) -> Iterator[Maintainer]:
    return Maintainer(tmp_path)


def test_readers_succeed_after_every_verb(maintainer: Maintainer) -> None:
    """Each reader keeps what it saw from one step to the next."""
    to = ("--to", maintainer.to)
    steps: list[tuple[str, Callable[[], object]]] = [
        ("one", partial(maintainer.publish, "a")),
        ("one", maintainer.second),
        ("one", partial(maintainer.run, "renew")),
        ("one", partial(maintainer.publish, "a")),
        ("two", partial(maintainer.publish, "b")),
        ("two", partial(maintainer.publish, "a")),
        ("one", partial(maintainer.run, "publish", "--retire", "b", *to)),
        ("one", partial(maintainer.run, "release", "delete", "b")),
        ("one", partial(maintainer.publish, "a")),
    ]
    for text, step in steps:
        step()
        maintainer.check_readers(text)


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
def test_renewed_after_years_the_channel_is_fetched_from(maintainer: Maintainer) -> None:
    maintainer.publish("a")
    for days in (400, 800):
        _renew_and_fetch(maintainer, days)


def _renew_and_fetch(maintainer: Maintainer, days: int) -> None:
    later = partial(_at, days)
    later(maintainer.home, "publish", "a", "--to", str(maintainer.to), code=60)
    later(maintainer.home, "renew")
    later(maintainer.home, "publish", "a", "--to", str(maintainer.to))
    reader, fetched = maintainer.root / "reader", maintainer.root / "fetched"
    shutil.rmtree(fetched, ignore_errors=True)
    later(reader, "trust", "add", str(maintainer.to), "--fingerprint", maintainer.fingerprint())
    later(reader, "fetch", "dir:org/model", "--channel", str(maintainer.to), "--to", str(fetched))
    assert (fetched / "dir/org/model/config.json").read_text() == '{"text": "one"}'


def _at(days: int, home: Path, *arguments: str, code: int = 0) -> None:
    program = [sys.executable, "-m", "ptmtorrent", "--home", str(home), "--format", "json", *arguments]
    command = ["faketime", "-f", f"+{days}d", *program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment())
    assert done.returncode == code, f"{arguments} ended {done.returncode}: {done.stdout} {done.stderr}"


def test_delete_is_no_name_of_a_release(tmp_path: Path) -> None:
    for verb in (("release", "delete"), ("release", "delete", "delete"), ("publish", "delete", "--to", "www")):
        ptmtorrent(tmp_path / "home", *verb, code=2)
    assert not (tmp_path / "www").exists()
