"""`store history`: write the history of a captured package, as its clone kept it, into a file."""

import os
from collections.abc import Sequence
from pathlib import Path

from ptmtorrent.disk.durable import disk_errors, new_temporary, publish_file
from ptmtorrent.errors import NotFound, UsageError
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Manifest, RawAnswer, decode_manifest
from ptmtorrent.paths import Home
from ptmtorrent.store.store import Store

HISTORY = "history"
"""Name of the raw answers that hold it: a git bundle, or pages of commits as JSON."""


def history(home: Home, package: str, to: Path) -> int:
    """Write the history of the newest capture of `package` to `to`, which must not exist; return its bytes.

    It is a git bundle, which `git clone` reads; for Hugging Face, a page of the hub's list of commits in each line.

    Raises:
        NotFound: the package was not captured, or its history was not kept.
        UsageError: `to` exists.
        StoreError, IntegrityError: the store cannot be read, or the file cannot be written.
    """
    if os.path.lexists(to):
        raise UsageError(f"`{to}` exists already", hint="name a new file with `--to`")
    if not home.store.is_dir():
        raise NotFound(f"nothing has been captured in `{home.root}`", hint="capture packages first: ptmtorrent clone")
    with Store.open(home.store, write=False) as store:
        capture = next((each for each in store.captures() if each.package == package), None)
        if capture is None:
            raise NotFound(f"`{package}` was not captured here", hint="list what was: ptmtorrent captured")
        manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
        kept = [answer for answer in manifest.raw if answer.name == HISTORY]
        if not kept:
            hub, _, name = package.partition(":")
            hub = {"hf": "huggingface"}.get(hub, hub)
            again = f"capture it with its history: ptmtorrent clone {hub} --id {name} --with history"
            raise NotFound(f"the history of `{package}` was not kept", hint=again)

        return _write(store, manifest, kept, to)


def _write(store: Store, manifest: Manifest, kept: Sequence[RawAnswer], to: Path) -> int:
    temporary = new_temporary(to)
    try:
        with disk_errors(to), temporary.open("xb") as file:
            for answer in kept:
                for row in manifest.objects_of(answer.recipe):
                    file.write(store.read(manifest.objects[row][0]))
                file.write(b"\n" * (len(kept) > 1))
            size = file.tell()
        publish_file(temporary, to)
    finally:
        temporary.unlink(missing_ok=True)
    return size
