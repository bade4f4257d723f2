import stat
from pathlib import Path

import minisign
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ptmtorrent.disk.durable import write_file
from ptmtorrent.errors import ConfigError, NoSpace
from ptmtorrent.trust import keys
from ptmtorrent.trust.keys import ROLES, init_keys, load_keys

ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def refuse_to_tell() -> bytes | None:
    raise AssertionError("nobody should be asked")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locked") / "keys"
    init_keys(folder, b"correct horse")
    return folder


def test_each_role_has_a_key_of_its_own(tmp_path: Path) -> None:
    init_keys(tmp_path / "keys", None)
    made = load_keys(tmp_path / "keys", refuse_to_tell)
    assert [len(made.signers[role]) for role in ROLES] == [3, 1, 1, 1]
    assert len({signer.public_key.keyid for role in ROLES for signer in made.signers[role]}) == 6


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "keys"
    init_keys(folder, None)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes.pop("minisign.pub") == 0o644
    assert set(modes.values()) == {0o600}


def test_nothing_but_the_keys_is_left_behind(tmp_path: Path) -> None:
    init_keys(tmp_path / "keys", None)
    assert [file.name for file in tmp_path.iterdir()] == ["keys"]
    assert {file.name for file in (tmp_path / "keys").iterdir()} == {
        *(f"root-{number}.pem" for number in (1, 2, 3)),
        *(f"{role}.pem" for role in ROLES[1:]),
        "root.json",
        "minisign.key",
        "minisign.pub",
    }


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    init_keys(folder, None)
    before = (folder / "root-1.pem").read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        init_keys(folder, None)
    assert (folder / "root-1.pem").read_bytes() == before


def test_an_empty_folder_may_become_the_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    init_keys(tmp_path / "keys", None)
    assert (tmp_path / "keys" / "root-1.pem").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("mine")
    with pytest.raises(ConfigError):
        init_keys(tmp_path / "keys", None)
    assert (tmp_path / "keys").read_text() == "mine"


def test_a_passphrase_encrypts_every_secret(locked: Path) -> None:
    for role in ROLES:
        assert all(path.read_bytes().startswith(ENCRYPTED) for path in locked.glob(f"{role}*.pem"))
    assert minisign.SecretKey.from_file(locked / "minisign.key").is_encrypted()


def test_the_passphrase_is_asked_once(locked: Path) -> None:
    asked: list[int] = []

    def tell() -> bytes:
        asked.append(1)
        return b"correct horse"

    loaded = load_keys(locked, tell)
    assert asked == [1]
    assert loaded.minisign_public == (locked / "minisign.pub").read_bytes()


@pytest.mark.parametrize("word", [b"wrong", b"", b"\xff", None])
def test_another_passphrase_is_a_config_error(locked: Path, word: bytes | None) -> None:
    with pytest.raises(ConfigError):
        load_keys(locked, lambda: word)


@pytest.mark.parametrize("word", [b"", b"\xff\xfe"])
def test_a_passphrase_that_cannot_be_typed_is_refused(tmp_path: Path, word: bytes) -> None:
    with pytest.raises(ConfigError):
        init_keys(tmp_path / "keys", word)
    assert not (tmp_path / "keys").exists()


def test_missing_keys_name_the_verb_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_keys(tmp_path / "keys", refuse_to_tell)
    assert "keys init" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["targets.pem", "minisign.key"])
def test_a_damaged_key_is_a_config_error_naming_it(tmp_path: Path, name: str) -> None:
    init_keys(tmp_path / "keys", None)
    (tmp_path / "keys" / name).write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ConfigError, match=name):
        load_keys(tmp_path / "keys", refuse_to_tell)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    init_keys(tmp_path / "keys", None)
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "keys" / "root.pem").write_bytes(other)
    with pytest.raises(ConfigError, match="not an Ed25519 key"):
        load_keys(tmp_path / "keys", refuse_to_tell)


def test_keys_that_cannot_be_written_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, *, mode: int) -> None:
        if path.name == "minisign.key":
            raise NoSpace("the disk is full")
        write_file(path, data, mode=mode)

    monkeypatch.setattr(keys, "write_file", full)
    with pytest.raises(NoSpace):
        init_keys(tmp_path / "keys", None)
    assert list(tmp_path.iterdir()) == []


def test_keys_that_were_made_meanwhile_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def beside(path: Path, data: bytes, *, mode: int) -> None:
        write_file(path, data, mode=mode)
        (tmp_path / "keys").mkdir(exist_ok=True)
        (tmp_path / "keys" / "root.pem").write_bytes(b"theirs")

    monkeypatch.setattr(keys, "write_file", beside)
    with pytest.raises(ConfigError, match="never overwritten"):
        init_keys(tmp_path / "keys", None)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["keys", "keys/root.pem"]
    assert (tmp_path / "keys" / "root.pem").read_bytes() == b"theirs"
