"""What the revision of a package is called: hubs over git have commits, Kaggle Models has versions."""

from typing import Literal

from ptmtorrent.model.manifest import Identity

RevisionKind = Literal["commit", "version", "content"]

_OF_HUBS: dict[str, RevisionKind] = {"kaggle": "version", "tfhub": "version", "dir": "content"}
_COMMIT_DIGITS = 40


def revision_kind(package: Identity) -> RevisionKind:
    """Return what `package.commit` is: a git commit, the number of a version, or a hash of what was captured."""
    kind = _OF_HUBS.get(package.hub, "commit")
    return "content" if kind == "commit" and len(package.commit) > _COMMIT_DIGITS else kind
