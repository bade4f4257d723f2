from pathlib import Path

import pytest

from ptmtorrent.trust.keys import Keys
from tests.trust.channels import new_keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return new_keys(tmp_path_factory.mktemp("home") / "keys")


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    return tmp_path / "channel"
