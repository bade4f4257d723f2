import shutil
from pathlib import Path

import pytest

from ptmtorrent.channel.paths import pack_path
from tests.channels import Made, make_channel
from tests.workflows.maintain.stores import pack_file, packs_of


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A maintainer's home with a release, that no test changes."""
    return make_channel(tmp_path_factory.mktemp("original"))


@pytest.fixture
def made(original: Made, tmp_path: Path) -> Made:
    """A maintainer's home whose channel shares its packs with the store."""
    home = tmp_path / "maintainer"
    shutil.copytree(original.home.root, home)
    made = Made(type(original.home)(home), original.release, original.packages, original.manifests)
    for pack in packs_of(made.home):
        (made.folder / pack_path(pack)).unlink()
        (made.folder / pack_path(pack)).hardlink_to(pack_file(made.home, pack))
    return made
