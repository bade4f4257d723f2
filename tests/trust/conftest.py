from pathlib import Path

import pytest

from ptmtorrent.trust.keys import Keys
from tests.trust.channels import new_keys
from tests.trust.repository import Client, TufRepository

TOP = ["root", "snapshot", "targets", "timestamp"]


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return new_keys(tmp_path_factory.mktemp("home") / "keys")


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    return tmp_path / "channel"


@pytest.fixture
def repository() -> TufRepository:
    return TufRepository()


@pytest.fixture
def client(tmp_path: Path, repository: TufRepository) -> Client:
    started = Client(tmp_path, repository)
    assert started.initialised == 0
    return started
