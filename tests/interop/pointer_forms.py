"""Texts that are pointers to git-lfs, and texts that are nearly so."""

import random
from collections.abc import Iterator
from itertools import product

VERSIONS = ("https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1", "http://git-media.io/v/2")
BEFORE = ("", "\n", " \t", "\r\n\r\n", "\v\f", "\u00a0", "\u3000\n")
ENDS = ("\n", "\r\n", "\n\n", "\r\n\n")
AFTER = ("", "\n", "\n\n\n", " ", "\t\n", "\r\n", "\x85", "\u2028\n")
SIZES = ("{}", "0{}", "+{}", "+00{}", "{} ", "{}\t")
EXTENSIONS = (*[()] * 10, ("ext-0-keep",), ("ext-3-keep", "ext-0-keep2"))
"""Keys of `ext-` lines, of programs that change nothing."""

CHOSEN = 230
LENGTHS = (1020, 1023, 1024, 1025, 2000, 5000, 8192)


def pointer_text(
    oid: str,
    size: str,
    *,
    version: str = VERSIONS[0],
    extensions: tuple[str, ...] = (),
    at: int = 1,
    end: str = "\n",
) -> str:
    """Return the lines of a pointer, with `ext-` lines before line `at`."""
    lines = [f"version {version}", f"oid sha256:{oid}", f"size {size}"]
    lines[at:at] = [f"{key} sha256:{oid}" for key in extensions]
    return "".join(line + end for line in lines)


def accepted_forms(oid: str, size: int) -> dict[str, bytes]:
    """Return pointers in every form that git-lfs 3.3 reads, by name: combinations drawn at random, and long ones."""
    every = list(product(VERSIONS, BEFORE, ENDS, AFTER, SIZES, EXTENSIONS, (0, 1, 2)))
    drawn = random.Random(0).sample(every, CHOSEN)
    forms = {}
    for number, (version, before, end, after, shape, extensions, at) in enumerate(drawn):
        text = pointer_text(oid, shape.format(size), version=version, extensions=extensions, at=at, end=end)
        name = f"extended-{number}" if extensions else f"drawn-{number}"
        forms[name] = (before + text.rstrip("\r\n") + after).encode()
    plain = pointer_text(oid, str(size))
    for length in LENGTHS:
        forms[f"long-{length}"] = plain.encode().ljust(length, b"\n")
    forms["long-and-more"] = plain.encode().ljust(1024, b" ") + b"and so on"
    return forms


def refused_forms(oid: str, size: int) -> Iterator[tuple[str, bytes]]:
    """Yield texts that name an object of LFS, and that git-lfs 3.3 does not read as pointers."""
    plain = pointer_text(oid, str(size))
    key, line = f"sha256:{oid}", plain.splitlines(keepends=True)
    yield "a later version", plain.replace("spec/v1", "spec/v2").encode()
    yield "version with a slash", plain.replace("spec/v1", "spec/v1/").encode()
    yield "carriage returns", plain.replace("\n", "\r").encode()
    yield "two carriage returns", plain.replace("\n", "\r\r\n").encode()
    yield "line of a space", (line[0] + " \n" + line[1] + line[2]).encode()
    yield "two spaces", plain.replace("size ", "size  ").encode()
    yield "tab", plain.replace("size ", "size\t").encode()
    yield "fraction", plain.replace(f"size {size}", f"size {size}.0").encode()
    yield "unit", plain.replace(f"size {size}", f"size {size}B").encode()
    yield "short oid", plain.replace(oid, oid[:-1]).encode()
    yield "long oid", plain.replace(oid, oid + "0").encode()
    yield "upper case", plain.replace(oid, oid.upper()).encode()
    yield "another hash", plain.replace("sha256:", "sha512:").encode()
    yield "swapped", (line[0] + line[2] + line[1]).encode()
    yield "repeated", (plain + plain).encode()
    yield "byte order mark", ("\ufeff" + plain).encode()
    yield "nul after", plain.encode() + b"\0"
    yield "text after", plain.encode() + b"And so on.\n"
    yield "twice the priority", pointer_text(oid, str(size), extensions=("ext-0-a", "ext-0-b")).encode()
    yield "md5 in an extension", plain.replace("oid", f"ext-0-a md5:{oid[:32]}\noid").encode()
    yield "extension without a hash", plain.replace("oid", "ext-0-a\noid").encode()
    yield "key in capitals", plain.replace("oid", f"Note {key}\noid").encode()
    yield "negative", plain.replace(f"size {size}", f"size -{size}").encode()


def permitted_forms(oid: str, size: int) -> Iterator[tuple[str, bytes]]:
    """Yield texts that the specification permits and git-lfs 3.3 does not read: those with further keys."""
    for key, at in product(("author", "x-note", "z.1"), (1, 2, 3)):
        lines = pointer_text(oid, str(size)).splitlines(keepends=True)
        lines.insert(at, f"{key} a b\n")
        yield f"{key} before line {at}", "".join(lines).encode()
