import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.model.pointers import (
    MAX_FILE_BYTES,
    Pointer,
    format_pointer,
    git_blob_id,
    parse_pointer,
    pointer_git_id,
)

OID = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
TEXT = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 12345\n".encode()
EXTENSION = f"ext-0-foo sha256:{'a' * 64}\n".encode()

hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
extensions = st.lists(
    st.tuples(st.integers(0, 9), st.text("abcXYZ09", min_size=1, max_size=8), hashes).map(
        lambda row: f"ext-{row[0]}-{row[1]} sha256:{row[2]}"
    ),
    max_size=3,
    unique=True,
).map(lambda lines: tuple(sorted(lines)))


@given(hashes, st.integers(1, MAX_FILE_BYTES - 1), extensions)
def test_parse_reads_what_format_writes(sha256: str, size: int, lines: tuple[str, ...]) -> None:
    pointer = Pointer(sha256=sha256, size=size, extensions=lines)

    assert parse_pointer(format_pointer(pointer)) == pointer


@given(st.binary(max_size=300))
def test_whatever_parses_is_written_back_byte_for_byte(data: bytes) -> None:
    pointer = parse_pointer(data)

    assert pointer is None or format_pointer(pointer) == data


def test_pointer_with_extension_lines_is_read() -> None:
    text = TEXT.replace(b"oid", EXTENSION + b"oid")

    assert parse_pointer(text) == Pointer(sha256=OID, size=12345, extensions=(EXTENSION.decode().strip(),))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.rstrip(b"\n"),
        TEXT + b"\n",
        TEXT.replace(b"oid", b"oid "),
        TEXT.replace(OID.encode(), OID.upper().encode()),
        TEXT.replace(b"12345", b"012345"),
        TEXT.replace(b"12345", b"-1"),
        TEXT.replace(b"spec/v1", b"spec/v2"),
        b"\xef\xbb\xbf" + TEXT,
        TEXT.replace(b"size", EXTENSION + b"size"),
        TEXT.replace(b"oid", EXTENSION * 12 + b"oid"),
    ],
)
def test_anything_but_the_exact_text_is_no_pointer(data: bytes) -> None:
    assert parse_pointer(data) is None


def test_empty_file_has_no_pointer() -> None:
    assert format_pointer(Pointer(sha256=hashlib.sha256(b"").hexdigest(), size=0)) == b""


def test_git_agrees_on_the_id_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    done = subprocess.run(["git", "hash-object", "--no-filters", str(path)], capture_output=True, text=True, check=True)

    assert git_blob_id(TEXT) == pointer_git_id(OID, 12345) == done.stdout.strip()
