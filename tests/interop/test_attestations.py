"""Others check a release by their own tools, such as model_signing, which refuse one flipped byte."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from tests.facts.findings.pickled import attack
from tests.in_process import ptmtorrent

TOP = Path(__file__).resolve().parents[2]
PAGE = TOP / "docs" / "verify-without-us.md"
TOOL = TOP / ".venv-model-signing" / "bin" / "model_signing"

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a release, what was exported from it without its packs, and a package fetched with them."""
    root = tmp_path_factory.mktemp("attested")
    home, place = root / "home", root / "src" / "one"
    (place / "sub").mkdir(parents=True)
    (place / "README.md").write_text("---\nlicense: mit\n---\n")
    (place / "config.json").write_text('{"a": 1}')
    (place / "sub" / "model.pkl").write_bytes(attack("os", "system", "true"))
    ptmtorrent(home, "clone", "dir", "--endpoint", place)
    ptmtorrent(home, "keys", "init", "--no-passphrase")
    ptmtorrent(home, "release", "r1")
    channel = ("--channel", home / "channel")
    ptmtorrent(home, "fetch", "--subset", "all", "--to", root / "models", *channel)
    (home / "channel" / "packs").rename(root / "packs-away")
    for form in ("model-signing", "in-toto", "sums"):
        ptmtorrent(home, "export", form, "--to", root / "checks", *channel)
    ptmtorrent(home, "export", "model-signing", "--only", "config", "--to", root / "config", *channel)
    (root / "channel").symlink_to(home / "channel")
    return root


def lines() -> list[str]:
    """The commands of the page."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("line", lines())
def test_every_line_of_the_page_works(exported: Path, line: str) -> None:
    program = line.removeprefix("(cd models && ").split()[0]
    path = {"model_signing": str(TOOL.parent), "python": str(Path(sys.executable).parent)}.get(program, "")
    if shutil.which(program, path=f"{path}:{os.environ['PATH']}") is None:
        pytest.skip(f"{program} is not installed")
    environment = {"PATH": f"{path}:{os.environ['PATH']}", "HOME": str(exported)}
    done = subprocess.run(["bash", "-c", line], cwd=exported, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


@pytest.fixture
def package(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported / "models" / "dir" / "one", tmp_path / "one"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def verify(package: Path, exported: Path, *more: str) -> int:
    if not TOOL.exists():
        pytest.skip("model_signing is not installed in .venv-model-signing")
    signature = exported / "dir%3Aone.sig"
    command = [TOOL, "verify", "key", package, "--signature", signature, "--public_key", exported / "attest.pub", *more]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_model_signing_accepts_a_package_and_refuses_one_flipped_byte(exported: Path, package: Path) -> None:
    assert verify(package, exported / "checks") == 0
    flip(package / "sub" / "model.pkl")
    assert verify(package, exported / "checks") != 0


def test_model_signing_accepts_a_part_of_a_package(exported: Path, package: Path) -> None:
    (package / "sub" / "model.pkl").unlink()
    assert verify(package, exported / "config", "--ignore_unsigned_files") == 0
    assert verify(package, exported / "checks", "--ignore_unsigned_files") != 0
    flip(package / "config.json")
    assert verify(package, exported / "config", "--ignore_unsigned_files") != 0


def test_statement_on_captures_is_verified_by_the_stock_library(exported: Path) -> None:
    data = json.loads((exported / "checks" / "captures.intoto.json").read_text())
    key = SSlibKey.from_crypto(load_pem_public_key((exported / "checks" / "attest.pub").read_bytes()))
    envelope = Envelope.from_dict(json.loads(json.dumps(data)))
    assert set(envelope.verify([key], 1)) == {key.keyid}
    statement = json.loads(envelope.payload)
    assert statement["subject"][0]["name"] == "dir:one"
    [package] = statement["predicate"]["packages"]
    assert (package["licence"], package["hub"], package["findings"]["worst"]) == ("mit", "dir", "runs-code")
    assert package["captured"]
    assert statement["predicate"]["release"]["content_root"].startswith("b3:")
    envelope.payload = envelope.payload.replace(b'"mit"', b'"gpl"')
    with pytest.raises(VerificationError):
        envelope.verify([key], 1)


@pytest.mark.parametrize(("program", "name"), [("sha256sum", "SHA256SUMS"), ("b3sum", "B3SUMS")])
def test_lists_of_hashes_are_checked_by_their_programs(exported: Path, tmp_path: Path, program: str, name: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    copy = Path(shutil.copytree(exported / "models", tmp_path / "models"))
    command = [program, "-c", "--quiet", exported / "checks" / name]
    assert subprocess.run(command, cwd=copy, capture_output=True, check=False).returncode == 0
    flip(copy / "dir" / "one" / "config.json")
    assert subprocess.run(command, cwd=copy, capture_output=True, check=False).returncode != 0


def test_key_of_statements_is_made_once_and_kept(exported: Path) -> None:
    keys = exported / "home" / "keys"
    assert (keys / "attest.pem").stat().st_mode & 0o777 == 0o600
    assert (keys / "attest.pub").read_bytes() == (exported / "config" / "attest.pub").read_bytes()
