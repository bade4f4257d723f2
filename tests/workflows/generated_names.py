"""Names of every odd kind, generated, for what a folder, a git remote and the Hugging Face hub can hold."""

import os
import random
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from ptmtorrent.errors import IntegrityError
from ptmtorrent.model.ids import check_paths

MAX_BYTES = 255
CONTENTS = 1000
"""Different contents: with so many, a file that got the bytes of another is very probably seen."""

ODD = (
    *(
        ".:",
        "C:",
        "c:x",
        "a\\b",
        "..\\x",
        "\\\\server\\share",
        "\\",
        "Icon\r",
        "a\r\nb",
        "\n",
        "\r",
        "\t",
        "\x01",
        "\x7f",
    ),
    *(
        " ",
        " a",
        "a ",
        "a.",
        "...",
        "....",
        ".a.",
        "-",
        "-rf",
        "--",
        "~",
        "~root",
        "$HOME",
        "`x`",
        "%2F",
        "%2e%2e",
        "%00",
    ),
    *("a?b", "a#b", "a&b", "a+b", "a=b", "*", "?", "[a]", "{a}", "<a>", "|", '"', "'", ";", "!", "@", "a@b", "^", ","),
    *("aux", "NUL", "con.txt", "COM1", "lpt9.json", "desktop.ini", ".DS_Store", "Thumbs.db", "README.md:stream"),
    *(
        ".gitignore",
        ".gitattributes",
        ".git.",
        "git",
        ".gitx",
        "a.git",
        ".hg",
        ".ptmtorrent-incoming",
        "ptmtorrent.lock",
    ),
    *(
        "é",
        "e\u0301",
        "ﬁ",
        "ß",
        "SS",
        "İ",
        "\u0131",
        "K",
        "\u200b",
        "\u202egnp",
        "\ufeff",
        "\u2028",
        "\ufffd",
        "\uffff",
        "😀",
        "日本語",
    ),
    *("blobs", "refs", "snapshots", "trees", ".locks", "manifest.json", "release.json", "model.safetensors", "LICENSE"),
)
_UNICODE = "aB0_.-~ \\:\r\n\t\"'`$%?*#<>|&;éÅß\u0130日\u0301\u200d\u202e\u2028\ufeff\ufffd😀"


class Generator:
    """Files of packages with generated names. `text` restricts them to names that are valid Unicode."""

    def __init__(self, seed: int, *, text: bool = False) -> None:
        self._random = random.Random(seed)
        self._text = text

    def package(self, number: int) -> dict[bytes, bytes]:
        """Return `number` files: contents by path, none of which is a folder of another."""
        files: dict[bytes, bytes] = {}
        folders: set[bytes] = set()
        while len(files) < number:
            path = self._path()
            above = set(_folders(path))
            if path in folders or path in files or above & files.keys() or not _is_accepted(path):
                continue
            folders |= above
            files[path] = content_of(path)
        return files

    def _path(self) -> bytes:
        depth = self._random.choice((1, 1, 1, 2, 2, 3, 5))
        return b"/".join(self._name() for _ in range(depth))

    def _name(self) -> bytes:
        draw = self._random
        kind = draw.randrange(6)
        if kind == 0:
            return draw.choice(ODD).encode()
        if kind == 1:
            return (draw.choice(ODD) + draw.choice(ODD)).encode()[:MAX_BYTES].decode(errors="ignore").encode()
        if kind == 2 and not self._text:
            return bytes(draw.choices(_BYTES, k=draw.choice((1, 2, 3, 8, 40, MAX_BYTES))))
        if kind == 3:
            ending = draw.choice(("", ".json", ".bin", ".safetensors"))
            return f"{draw.choice(ODD)}{draw.randrange(10**6)}{ending}".encode()
        if kind == 4:
            return "".join(draw.choices(_UNICODE, k=draw.randrange(1, 64))).encode()
        return f"file-{draw.randrange(10**7)}.txt".encode()


_BYTES = [byte for byte in range(1, 256) if byte != ord("/")]


def content_of(path: bytes) -> bytes:
    """Return the bytes of the file at `path`."""
    return b"%d\n" % (int.from_bytes(blake2b(path, digest_size=4).digest()) % CONTENTS)


def files_in(folder: bytes) -> dict[bytes, bytes]:
    """Return the bytes of all files below `folder`, by path."""
    found: dict[bytes, bytes] = {}
    for here, _, names in os.walk(folder):
        for name in names:
            path = here + b"/" + name
            found[path[len(folder) + 1 :]] = Path(os.fsdecode(path)).read_bytes()
    return found


def _folders(path: bytes) -> Iterator[bytes]:
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def _is_accepted(path: bytes) -> bool:
    try:
        check_paths([path.decode(errors="surrogateescape")])
    except IntegrityError:
        return False
    return True
