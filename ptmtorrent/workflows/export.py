"""`export ptmtorrent-json`: what the store has captured, or a release, in the JSON of the data set of 2023.

The values are those of the table of packages; each hub's own records are made from its raw answers, which lie in the
store, or in the packs of the channel.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ptmtorrent.catalogue.columns import rows_of
from ptmtorrent.catalogue.query import PackageRow, read_rows
from ptmtorrent.disk import durable
from ptmtorrent.errors import HubError, IntegrityError, NotFound, PtmError, StoreError, UnsupportedFormat
from ptmtorrent.exports.ptmtorrent_json import METADATA, hub_json, uniform_json
from ptmtorrent.hubs.record import ANSWER, read_answer
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Capture, Manifest, decode_manifest
from ptmtorrent.model.records import Emit, Result
from ptmtorrent.paths import Home
from ptmtorrent.reading.answers import read_answers
from ptmtorrent.reading.open_channel import OpenChannel
from ptmtorrent.store.store import Store

UNIFORM = "ptmtorrent.json"


class Exported(NamedTuple):
    """A package to export: its row of the table of packages, and its hub's raw answer; or why it cannot be had."""

    package: str
    row: PackageRow | None
    answer: bytes
    error: PtmError | None = None


def export(home: Home, folder: Path, *, emit: Emit, channel: OpenChannel | None = None) -> tuple[int, int]:
    """Write `ptmtorrent.json` and `metadata/<hub>.json` into `folder`; return how many packages are in it and failed.

    They are those of the release of `channel`; without one, those that the store of `home` has captured.

    Raises:
        NotFound: nothing was captured.
        StoreError: the folder cannot be written.
        IntegrityError, TransportError: the index or a table of the release cannot be read.
    """
    uniforms: list[dict[str, Any]] = []
    owns: dict[str, list[dict[str, Any]]] = {}
    failed = 0
    packages = _in_store(home) if channel is None else iter(_in_release(channel))
    for package, row, answer, error in packages:
        try:
            made = _rows(row, answer, error)
        except (NotFound, StoreError, IntegrityError, UnsupportedFormat, HubError) as reason:
            failed += 1
            emit(Result(kind="package", id=package, status="error", reason=f"it is left out: {reason.message}"))
            continue
        if row is not None:
            rows = owns.setdefault(row.hub, [])
            uniforms.append(uniform_json(row, len(rows)))
            rows += made
    durable.ensure_dir(folder, mode=0o777)  # it is the user's: the umask decides
    for prefix, rows in owns.items():
        durable.write_file(folder / METADATA.format(prefix), msgspec.json.encode(rows), None)
    durable.write_file(folder / UNIFORM, msgspec.json.encode(uniforms), None)
    return len(uniforms), failed


def _rows(row: PackageRow | None, answer: bytes, error: PtmError | None) -> list[dict[str, Any]]:
    if error is not None:
        raise error
    return [] if row is None else hub_json(row, read_answer(answer.decode(errors="replace")))


def _in_store(home: Home) -> Iterator[Exported]:
    if not home.store.is_dir():
        raise NotFound(
            f"nothing has been captured in `{home.root}`",
            hint="capture packages first (ptmtorrent clone), or name a channel: `--channel LOC`",
        )
    with Store.open(home.store, write=False) as store:
        for capture in store.captures():
            try:
                manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
                yield Exported(capture.package, row_of(capture, manifest), _read(store, manifest))
            except (NotFound, StoreError, IntegrityError, UnsupportedFormat) as error:
                yield Exported(capture.package, None, b"", error)


def _in_release(channel: OpenChannel) -> list[Exported]:
    rows = {row.package: row for row in read_rows(channel.release, channel.reader, PackageRow, proven=channel.proven)}
    found = [
        Exported(answered.package, rows.get(answered.package), answered.answer, answered.error)
        for answered in read_answers(channel, ANSWER)
    ]
    return sorted(found, key=lambda each: each.package)


def row_of(capture: Capture, manifest: Manifest) -> PackageRow:
    """Return the row of a package as readers of the table get it."""
    names = PackageRow.__struct_fields__
    row = msgspec.json.decode(rows_of(capture, manifest).package)
    return msgspec.convert({name: row.get(name) for name in names}, PackageRow)


def _read(store: Store, manifest: Manifest) -> bytes:
    name = ANSWER.get(manifest.package.hub, "record")
    answer = next((answer for answer in manifest.raw if answer.name == name), None)
    rows = manifest.objects_of(answer.recipe) if answer else ()
    return b"".join(store.read(manifest.objects[row][0]) for row in rows)
