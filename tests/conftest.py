"""What every test gets: an environment without anybody's settings, and the ends of a home."""

from pathlib import Path

import pytest
from hypothesis import settings

from ptmtorrent.paths import Home

# Nothing is timed in a test: a busy machine is no failure. On CI hypothesis loads its own profile, without deadlines.
settings.register_profile("unhurried", parent=settings(), deadline=None)
settings.load_profile("unhurried")

FOREIGN = (
    *("PTMTORRENT_HOME", "PTMTORRENT_FORMAT", "PTMTORRENT_CHANNEL", "PTMTORRENT_TRANSPORT", "PTMTORRENT_JOBS"),
    *("PTMTORRENT_MAX_MEMORY", "PTMTORRENT_GLOBUS_CLIENT_ID", "PTMTORRENT_GLOBUS_HERE", "PTMTORRENT_GLOBUS_PATIENCE"),
)
SECRETS = (
    "PTMTORRENT_KEY_PASSPHRASE",
    "PTMTORRENT_GLOBUS_CLIENT_SECRET",
    "HF_TOKEN",
    "HF_HOME",
    "HF_ENDPOINT",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
)


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in (*FOREIGN, *SECRETS):
        monkeypatch.delenv(name, raising=False)
    nobody = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(nobody / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(nobody / "data"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that holds nothing yet."""
    return Home(tmp_path / "home")
