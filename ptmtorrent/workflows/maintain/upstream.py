"""Shows that stored bytes are those of the upstream commit: they are hashed up through the kept trees to its id."""

import time
from pathlib import Path

from ptmtorrent.errors import IntegrityError, Interrupted, NotFound, PtmError
from ptmtorrent.hubs.git.signatures import signature_of, verify_signature
from ptmtorrent.model.ids import PackageName
from ptmtorrent.model.manifest import Manifest
from ptmtorrent.model.records import Emit, Result, Status, Summary
from ptmtorrent.model.text import count
from ptmtorrent.paths import Home
from ptmtorrent.stop import ANEW_HINT, Stop
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.captured import read_captured, require_store
from ptmtorrent.workflows.maintain.prove_commit import is_provable, prove, read_commit


def verify_upstream(
    home: Home, package: PackageName | None, *, keys: Path | None = None, emit: Emit, stop: Stop
) -> tuple[Summary, bool]:
    """Prove the newest capture of `package`, or of all, against its upstream commit; a record a package.

    A package without git objects cannot be proven, and its record says so. With `keys`, a file of public keys, a commit
    that is signed must be signed by one of them. Returns the summary, and whether any package does not match.

    Raises:
        NotFound: there is no store, or nothing of that name was captured.
        ConfigError: the file of keys cannot be used.
        Interrupted: `stop` was set.
    """
    require_store(home)
    began = time.monotonic()
    packages = files = failed = unproven = 0
    status: Status
    with Store.open(home.store) as store:
        for captured in read_captured(store):
            name = captured.capture.package
            if package not in {None, name}:
                continue
            stop.raise_if_set("the proof", hint=ANEW_HINT)
            packages += 1
            if captured.manifest is None:
                status, reason = "error", captured.error.message if captured.error else "its manifest is missing"
            else:
                files += len(captured.manifest.files)
                status, reason = _prove(store, captured.manifest, keys, stop)
            failed += status == "error"
            unproven += status == "impossible"
            emit(Result(kind="package", id=name, status=status, reason=reason))
    if not packages:
        raise NotFound(f"`{package}` was not captured in `{home.root}`", hint="see what was: ptmtorrent captured")
    summary = Summary(
        packages=packages,
        files=files,
        bytes=0,
        bytes_moved=0,
        seconds=time.monotonic() - began,
        failed=failed + (unproven if package is not None else 0),
    )
    return summary, failed > 0


def _prove(store: Store, manifest: Manifest, keys: Path | None, stop: Stop) -> tuple[Status, str]:
    if not is_provable(manifest):
        hub = manifest.package.hub
        return "impossible", f"there is no proof: the hub `{hub}` gave no git commit and trees when it was captured"
    commit = manifest.package.commit
    try:
        prove(store, manifest, thorough=True, stop=stop)
        signature = _signature(read_commit(store, manifest), keys)
    except Interrupted:
        raise
    except IntegrityError as error:
        return "error", f"does not match its upstream commit: {error.message}"
    except PtmError as error:
        if keys is not None and not isinstance(error, NotFound):
            raise
        return "error", error.message
    mine = [file for file in manifest.files if file.source in {"git", "lfs"}]
    other = len(manifest.files) - len(mine)
    more = f"; {count(other, 'file')} from elsewhere, which the commit does not cover" if other else ""
    return "ok", f"the stored bytes of {count(len(mine), 'file')} hash up to the commit `{commit}`{more}; {signature}"


def _signature(commit: bytes, keys: Path | None) -> str:
    signed = signature_of(commit)
    if signed is None:
        return "the commit is not signed"
    if keys is None:
        return f"the commit has a {signed.kind} signature, which was not verified (pass `--keys FILE`)"
    verify_signature(signed, keys)
    return f"its {signed.kind} signature is by a key in `{keys}`"
