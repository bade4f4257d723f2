import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.model.pointers import (
    Pointer,
    format_pointer,
    git_blob_id,
    parse_pointer,
    pointer_git_id,
    resembles_pointer,
)

OID = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
TEXT = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 12345\n".encode()
EXTENSION = f"ext-0-foo sha256:{'a' * 64}\n".encode()

hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(hashes, st.integers(1, (1 << 63) - 1))
def test_parse_reads_what_format_writes(sha256: str, size: int) -> None:
    pointer = Pointer(sha256=sha256, size=size)

    assert parse_pointer(format_pointer(pointer)) == pointer


@given(st.binary(max_size=300))
def test_any_bytes_are_read_as_a_pointer_or_not(data: bytes) -> None:
    pointer = parse_pointer(data)

    assert pointer is None or parse_pointer(format_pointer(pointer)) in {pointer, None}


@pytest.mark.parametrize(
    "data",
    [
        TEXT,
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.rstrip(b"\n"),
        b"\n " + TEXT + b"\n\t\n",
        TEXT.replace(b"\n", b"\n\n"),
        TEXT.replace(b"12345", b"012345"),
        TEXT.replace(b"12345", b"+12345"),
        TEXT.replace(b"https://git-lfs.github.com/spec/v1", b"http://git-media.io/v/2"),
        TEXT.replace(b"https://git-lfs", b"https://hawser"),
        TEXT.replace(b"oid", EXTENSION + b"oid"),
        EXTENSION + TEXT.replace(b"size", EXTENSION.replace(b"-0-", b"-1-") + b"size"),
        TEXT.replace(b"oid", EXTENSION * 2 + b"oid"),
        TEXT + b"x-note a b\n",
        TEXT.ljust(1024, b"\n") + b"and so on",
    ],
)
def test_what_git_lfs_or_its_specification_reads_is_a_pointer(data: bytes) -> None:
    assert parse_pointer(data) == Pointer(sha256=OID, size=12345)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT.replace(b"oid", b"oid "),
        TEXT.replace(OID.encode(), OID.upper().encode()),
        TEXT.replace(b"12345", b"-1"),
        TEXT.replace(b"12345", b"%d" % (1 << 63)),
        TEXT.replace(b"12345", b"1" * 900),
        TEXT.replace(b"spec/v1", b"spec/v2"),
        b"\xef\xbb\xbf" + TEXT,
        TEXT.replace(b"\n", b"\r"),
        TEXT.replace(b"oid", EXTENSION + EXTENSION.replace(b"foo", b"bar") + b"oid"),
        TEXT.replace(b"oid", b"Note a\noid"),
        TEXT.ljust(1023, b"\n") + b"and so on",
        TEXT + TEXT,
    ],
)
def test_other_text_is_no_pointer(data: bytes) -> None:
    assert parse_pointer(data) is None


def test_empty_file_has_no_pointer() -> None:
    assert format_pointer(Pointer(sha256=hashlib.sha256(b"").hexdigest(), size=0)) == b""


def test_git_agrees_on_the_id_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    done = subprocess.run(["git", "hash-object", "--no-filters", str(path)], capture_output=True, text=True, check=True)

    assert git_blob_id(TEXT) == pointer_git_id(OID, 12345) == done.stdout.strip()


@pytest.mark.parametrize(
    "data",
    [
        TEXT.replace(b"spec/v1", b"spec/v2"),
        TEXT.replace(OID.encode(), OID.upper().encode()),
        TEXT.replace(b"sha256:", b"sha3:"),
        TEXT.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + TEXT,
        TEXT.replace(b"12345", b"-1"),
    ],
)
def test_a_text_that_names_an_object_of_lfs_resembles_a_pointer(data: bytes) -> None:
    assert parse_pointer(data) is None
    assert resembles_pointer(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(200),
        TEXT.replace(b"git-lfs", b"example"),
        TEXT.replace(b"oid ", b"id "),
        TEXT.replace(b"size ", b"length "),
        TEXT.replace(OID.encode(), b"of the weights"),
        bytes(1024) + TEXT,
    ],
)
def test_other_data_does_not_resemble_a_pointer(data: bytes) -> None:
    assert not resembles_pointer(data)
