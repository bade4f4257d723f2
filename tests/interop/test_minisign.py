"""The minisign program accepts what we sign and refuses what was changed, with no code of ours."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ptmtorrent.trust.keys import init_keys, load_keys
from tests.trust.channels import publish

pytestmark = pytest.mark.interop


@pytest.fixture
def minisign() -> str:
    found = shutil.which("minisign")
    if found is None:
        pytest.skip("the program `minisign` is not installed")
    return found


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    init_keys(tmp_path / "keys", b"a passphrase")
    publish(tmp_path / "channel", load_keys(tmp_path / "keys", lambda: b"a passphrase"), "2026.11", 1)
    return tmp_path / "channel"


def verify(minisign: str, channel: Path) -> subprocess.CompletedProcess[str]:
    command = [minisign, "-Vm", "releases/2026.11/release.json", "-p", "keys/minisign.pub"]
    return subprocess.run(command, cwd=channel, capture_output=True, text=True, timeout=30, check=False)


def test_the_program_accepts_a_release(minisign: str, channel: Path) -> None:
    result = verify(minisign, channel)
    assert result.returncode == 0, result.stderr
    assert "ptmtorrent release 2026.11 sequence 1" in result.stdout


@pytest.mark.parametrize("name", ["release.json", "release.json.minisig"])
def test_the_program_refuses_what_was_changed(minisign: str, channel: Path, name: str) -> None:
    path = channel / "releases" / "2026.11" / name
    path.write_bytes(path.read_bytes().replace(b"2026.11", b"2026.12"))
    assert verify(minisign, channel).returncode != 0


def test_the_program_can_sign_with_our_secret_key(minisign: str, tmp_path: Path) -> None:
    init_keys(tmp_path / "keys", b"a passphrase")
    message = tmp_path / "message"
    message.write_bytes(b"hello")
    subprocess.run(
        [minisign, "-Sm", str(message), "-s", str(tmp_path / "keys" / "minisign.key")],
        input="a passphrase\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    checked = subprocess.run(
        [minisign, "-Vm", str(message), "-p", str(tmp_path / "keys" / "minisign.pub")],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 0
