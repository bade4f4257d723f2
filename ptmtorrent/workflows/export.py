"""`export ptmtorrent-json`: what the store has captured, in the JSON of the data set of 2023."""

from pathlib import Path
from typing import Any

import msgspec

from ptmtorrent.disk import durable
from ptmtorrent.errors import HubError, IntegrityError, NotFound, StoreError, UnsupportedFormat
from ptmtorrent.exports.ptmtorrent_json import METADATA, hub_json, uniform_json
from ptmtorrent.hubs.port import Listed
from ptmtorrent.hubs.record import ANSWER, build_record, read_answer
from ptmtorrent.model.ids import ObjectId
from ptmtorrent.model.manifest import Capture, Identity, Manifest, decode_manifest
from ptmtorrent.model.records import Emit, Result
from ptmtorrent.paths import Home
from ptmtorrent.store.store import Store

UNIFORM = "ptmtorrent.json"


def export(home: Home, folder: Path, *, emit: Emit) -> tuple[int, int]:
    """Write `ptmtorrent.json` and `metadata/<hub>.json` into `folder`; return how many packages are in it and failed.

    Raises:
        NotFound: nothing was captured.
        StoreError: the folder cannot be written.
    """
    if not home.store.is_dir():
        raise NotFound(f"nothing has been captured in `{home.root}`", hint="capture packages first: ptmtorrent clone")
    uniforms: list[dict[str, Any]] = []
    owns: dict[str, list[dict[str, Any]]] = {}
    failed = 0
    with Store.open(home.store, write=False) as store:
        for capture in store.captures():
            try:
                identity, raw = _raw_answer(store, capture)
                record = build_record(identity.hub, Listed(name=identity.name, raw=raw), commit=identity.commit)
                rows = owns.setdefault(identity.hub, [])
                made = hub_json(record, read_answer(raw), len(rows))
            except (NotFound, StoreError, IntegrityError, UnsupportedFormat, HubError) as error:
                failed += 1
                emit(
                    Result(
                        kind="package", id=capture.package, status="error", reason=f"it is left out: {error.message}"
                    )
                )
                continue
            uniforms.append(uniform_json(record, len(uniforms), len(rows)))
            rows += made
    durable.ensure_dir(folder, mode=0o777)  # it is the user's: the umask decides
    for prefix, rows in owns.items():
        durable.write_file(folder / METADATA.format(prefix), msgspec.json.encode(rows), None)
    durable.write_file(folder / UNIFORM, msgspec.json.encode(uniforms), None)
    return len(uniforms), failed


def _raw_answer(store: Store, capture: Capture) -> tuple[Identity, str]:
    manifest: Manifest = decode_manifest(store.read(ObjectId(capture.snapshot)), capture.snapshot)
    name = ANSWER.get(manifest.package.hub, "record")
    answer = next((answer for answer in manifest.raw if answer.name == name), None)
    if answer is None:
        return manifest.package, "{}"
    objects = [manifest.objects[row][0] for first, count in answer.recipe for row in range(first, first + count)]
    return manifest.package, b"".join(map(store.read, objects)).decode()
