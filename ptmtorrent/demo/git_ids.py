r"""Git ids of trees and commits, so that the ids of the sample hub match those of a real git repository.

Source: git, "Git Objects" (`<type> <length>\0<body>`, SHA-1).
"""

import hashlib
from collections.abc import Mapping

import msgspec

_AUTHOR = b"Sample Hub <sample@hub.invalid>"


class Trees(msgspec.Struct, frozen=True, kw_only=True):
    """The root tree of a commit, and the tree of every folder below it by path."""

    root: str
    folders: dict[str, str]


def pointer(sha256: str, size: int) -> bytes:
    """Return the LFS pointer that git holds in place of the file (git-lfs, `docs/spec.md`)."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def hash_trees(files: Mapping[str, str]) -> Trees:
    """Hash the folders of `files`, a map of path to git id; all are regular files."""
    folders: dict[str, str] = {}
    root = _hash_tree("", files, folders)
    return Trees(root=root, folders=folders)


def hash_commit(tree: str, seconds: int) -> str:
    """Return the id of the first and only commit of `tree`, made at `seconds` since 1970."""
    signature = b"%s %d +0000" % (_AUTHOR, seconds)
    return _hash(
        "commit", b"tree %s\nauthor %s\ncommitter %s\n\nAdd the model\n" % (tree.encode(), signature, signature)
    )


def _hash_tree(prefix: str, files: Mapping[str, str], folders: dict[str, str]) -> str:
    rows: list[tuple[bytes, bytes, str]] = []
    below: dict[str, dict[str, str]] = {}
    for path, identifier in files.items():
        head, slash, rest = path.partition("/")
        if slash:
            below.setdefault(head, {})[rest] = identifier
        else:
            rows.append((head.encode(), b"100644", identifier))
    for head, inner in below.items():
        folders[prefix + head] = _hash_tree(f"{prefix}{head}/", inner, folders)
        rows.append((head.encode(), b"40000", folders[prefix + head]))
    rows.sort(key=lambda row: row[0] + b"/" * (row[1] == b"40000"))  # git sorts a folder as if its name ended in `/`
    return _hash("tree", b"".join(b"%s %s\0%s" % (mode, name, bytes.fromhex(oid)) for name, mode, oid in rows))


def _hash(kind: str, body: bytes) -> str:
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(body), body), usedforsecurity=False).hexdigest()
