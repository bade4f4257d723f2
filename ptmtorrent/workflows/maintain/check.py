"""`store check`: whether the store is complete and undamaged. Changes nothing, and runs beside writers.

There are three levels. Bytes that a level did not read are reported, in a note and in the summary: their state is that
of the last time they were written or checked.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from ptmtorrent.disk.durable import files_in
from ptmtorrent.errors import Interrupted, PtmError, StoreError
from ptmtorrent.model.ids import ObjectId, PackageName, PackId, is_hex64
from ptmtorrent.model.manifest import Manifest
from ptmtorrent.model.records import Emit, Note, Result, ResultKind, Summary
from ptmtorrent.model.text import count, spell_size
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.stop import ANEW_HINT, Stop
from ptmtorrent.store.contents import INDEX_NAME, Contents, open_contents
from ptmtorrent.store.maintenance.quick_check import check_index
from ptmtorrent.store.maintenance.verify_pack import Expectation
from ptmtorrent.store.pack.hashes import read_sidecar
from ptmtorrent.store.pack.reader import packs_on_disk
from ptmtorrent.store.recovery.quarantine import DAMAGED
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.captured import packages_with, read_captured, read_or_none, require_store
from ptmtorrent.workflows.maintain.inspect import (
    MISSING,
    InspectContext,
    Inspection,
    Level,
    describe,
    inspect_packs,
    inspect_part,
)
from ptmtorrent.workflows.maintain.prove_commit import is_provable, prove
from ptmtorrent.workflows.maintain.released import read_released_packs, spell_releases

_MAX_NAMED = 8
"""Limit of missing objects that a message names; the others are counted."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of damage: `what` is index, pack, header, record, object, footer, padding, bytes, or package.

    `offset` and `bytes` are the position in the pack, if known; `packages` are the packages that need the object.
    """

    pack: str
    what: str
    object: ObjectId | None = None
    offset: int | None = None
    bytes: int | None = None
    packages: tuple[PackageName, ...] = ()


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a check: its summary, and everything that is damaged."""

    summary: Summary
    findings: tuple[Finding, ...]


def check(home: Home, level: Level, *, emit: Emit, stop: Stop) -> CheckResult:
    """Check the store of `home`; emit one record per pack and part, and one per incomplete package or damaged index.

    Raises:
        NotFound: there is no store.
        StoreError: the store cannot be read.
        Interrupted: `stop` was set.
    """
    require_store(home)
    run = _Run(home, level, emit, stop)
    problems = check_index(home.store / INDEX_NAME, thorough=level != "quick")
    if problems:
        return run.without_index(problems)
    with ExitStack() as held:
        store = held.enter_context(Store.open(home.store))
        return run.check(store, held.enter_context(open_contents(home.store)))


class _Run:
    """One check. Worker threads read through `store`; `contents` is a connection for the calling thread alone."""

    def __init__(self, home: Home, level: Level, emit: Emit, stop: Stop) -> None:
        self._home, self._level, self._emit, self._stop = home, level, emit, stop
        self._began = time.monotonic()
        self._findings: list[Finding] = []
        self._damaged: list[Inspection] = []
        self._names: set[str] = set()
        self._packs = self._files = self._bytes = self._unread = self._failed = self._proven = 0

    def without_index(self, problems: Sequence[str]) -> CheckResult:
        """Report a damaged index; nothing else can be checked without it."""
        self._fail("index", "index", f"the index is damaged: {'; '.join(problems)}")
        again = "nothing else was checked; rebuild the index: ptmtorrent store repair --index"
        self._emit(Note(message=again, warning=True))
        return self._result()

    def check(self, store: Store, contents: Contents) -> CheckResult:
        """Inspect packs and parts, then check that releases and captures have what they need."""
        sizes = contents.packs()
        strays = {pack: size for pack, size in packs_on_disk(store.root).items() if pack not in sizes}
        meter = new_meter(
            "check", self._emit, time.monotonic, bytes_total=sum(sizes.values()), packages_total=len(sizes)
        )
        context = InspectContext(
            self._level, store.has, lambda identifier: read_or_none(store, identifier), self._counter(meter)
        )
        for inspected in inspect_packs(store.root, self._expect(store, contents, sizes), context):
            self._take(inspected, contents)
            meter.add(packages=1)
        unindexed = msgspec.structs.replace(context, is_stored=lambda _: True)
        for inspected in inspect_packs(store.root, self._expect(store, contents, strays), unindexed):
            self._take(inspected, contents, is_stray=True)
        self._take_parts(store, contents, context)
        meter.finish()
        if self._level != "quick":
            self._check_released(sizes | strays)
        self._report_damaged(
            packages_with(store, contents, {lost for inspected in self._damaged for lost in inspected.lost})
        )
        if self._level != "quick":
            self._check_captures(store, contents)
        self._report_unread()
        self._report_quarantined(store.root / DAMAGED)
        if strays:
            unknown = f"{count(len(strays), 'pack')} not in the index yet"
            self._emit(Note(message=f"{unknown}; the next command that writes indexes them: check again after it"))
        return self._result()

    def _expect(self, store: Store, contents: Contents, sizes: dict[PackId, int]) -> Iterator[Expectation]:
        for pack, size in sizes.items():
            known = read_sidecar(store.root, pack)
            entries = () if self._level == "quick" else tuple(contents.entries(pack))
            yield Expectation(pack=pack, size=size, entries=entries, hashes=known[0] if known else None)

    def _take(self, inspected: Inspection, contents: Contents, *, is_stray: bool = False) -> None:
        bad = inspected.problems or inspected.damages or inspected.lost
        if bad and is_hex64(inspected.name) and not is_stray and inspected.name not in contents.packs():
            return  # deleted by another process meanwhile
        self._names.add(inspected.name)
        self._packs += 1
        self._files += 1
        self._bytes += inspected.size
        self._unread += inspected.size - inspected.bytes_read
        if bad:
            if MISSING in inspected.problems:  # level `quick` does not read the entries of packs
                lost = tuple(entry.id for entry in contents.entries(inspected.name))
                inspected = msgspec.structs.replace(inspected, lost=lost)
            self._damaged.append(inspected)
            return
        sound = _SOUND if is_hex64(inspected.name) else _SOUND_PART
        self._emit(
            Result(
                kind=_kind(inspected.name),
                id=inspected.name,
                status="ok",
                reason=sound[self._level],
                bytes=inspected.size,
            )
        )

    def _take_parts(self, store: Store, contents: Contents, context: InspectContext) -> None:
        for path in files_in(store.root / "open", "*.part"):
            self._stop.raise_if_set("the check", hint=ANEW_HINT)
            if (inspected := _inspect_part(path, contents, context)) is not None:
                self._take(inspected, contents)
        for part in set(contents.parts()) - self._names:
            if not (store.root / "open" / part).exists() and contents.entries(part):
                self._take(Inspection(name=part, size=0, problems=(MISSING,)), contents)

    def _check_released(self, sizes: dict[PackId, int]) -> None:
        """Report packs that our own releases refer to and the store lacks."""
        try:
            released = read_released_packs(self._home.channel)
        except StoreError as error:
            self._emit(Note(message=error.message, warning=True))
            return
        for pack in sorted(released.sizes.keys() - sizes.keys()):
            self._fail(pack, "pack", f"missing from the store; needed by {spell_releases(released.releases[pack])}")

    def _report_damaged(self, needed: dict[ObjectId, list[PackageName]]) -> None:
        for inspected in self._damaged:
            gone = [*inspected.lost]
            packages = sorted({package for identifier in gone for package in needed.get(identifier, ())})
            needs = f"; needed by {', '.join(f'`{package}`' for package in packages)}" if packages else ""
            self._failed += 1
            reason = "; ".join(describe(inspected)) + needs
            self._emit(
                Result(
                    kind=_kind(inspected.name),
                    id=inspected.name,
                    status="error",
                    reason=reason,
                    bytes=inspected.size,
                )
            )
            self._findings += _findings(inspected, needed)

    def _check_captures(self, store: Store, contents: Contents) -> None:
        """Report packages whose manifest cannot be read, that lack objects, or that do not match their commit."""
        for captured in read_captured(store):
            self._stop.raise_if_set("the check", hint=ANEW_HINT)
            package, manifest = captured.capture.package, captured.manifest
            if manifest is None:
                reason = captured.error.message if captured.error else "its manifest is missing"
                snapshot = ObjectId(captured.capture.snapshot)
                self._fail(package, "package", f"its manifest cannot be read: {reason}", snapshot)
                continue
            lacking = contents.lacking(identifier for identifier, _ in manifest.objects)
            missing = [identifier for identifier, _ in manifest.objects if identifier in lacking]
            if missing:
                named = ", ".join(f"`{identifier}`" for identifier in missing[:_MAX_NAMED])
                more = f" and {len(missing) - _MAX_NAMED:,} more" if len(missing) > _MAX_NAMED else ""
                reason = f"the store lacks {count(len(missing), 'object')} of it: {named}{more}"
                self._fail(package, "package", reason, missing[0])
            elif is_provable(manifest):
                self._prove(store, manifest)
        if self._proven:
            from_bytes = " (hashed again from the stored bytes)" if self._level == "data" else ""
            match = "package matches its" if self._proven == 1 else "packages match their"
            commits = "commit" if self._proven == 1 else "commits"
            self._emit(Note(message=f"{self._proven:,} {match} upstream git {commits}{from_bytes}"))

    def _prove(self, store: Store, manifest: Manifest) -> None:
        package = manifest.package.package
        try:
            prove(store, manifest, thorough=self._level == "data", stop=self._stop)
        except Interrupted:
            raise
        except PtmError as error:
            self._fail(package, "package", f"does not match its upstream commit: {error.message}")
        else:
            self._proven += 1

    def _fail(self, name: str, what: ResultKind, reason: str, identifier: ObjectId | None = None) -> None:
        self._failed += 1
        self._emit(Result(kind=what, id=name, status="error", reason=reason))
        packages = (PackageName(name),) if what == "package" else ()
        pack = "" if what == "package" else name
        self._findings.append(Finding(pack=pack, what=what, object=identifier, packages=packages))

    def _report_unread(self) -> None:
        if self._unread:
            unread = f"{spell_size(self._unread)} of {spell_size(self._bytes)} in {count(self._packs, 'pack')}"
            later = "damage since they were written is not detected; `ptmtorrent store check --data` reads them"
            self._emit(Note(message=f"{unread} were not read: {later}"))

    def _report_quarantined(self, folder: Path) -> None:
        """Report damaged parts, which are quarantined when the store is opened for writing."""
        for path in files_in(folder, "*.part"):
            moved = f"the part `{path.name}` was damaged and was moved to `{path}`"
            saved = "its whole objects were saved; `ptmtorrent clone` captures the others again"
            self._emit(Note(message=f"{moved}: {saved}; remove the file when you no longer need it", warning=True))

    def _counter(self, meter: Meter) -> Callable[[int], None]:
        def on_bytes(size: int) -> None:
            self._stop.raise_if_set("the check", hint=ANEW_HINT)
            meter.add(bytes=size // 2)  # every byte is counted twice: when hashed, and when decoded

        return on_bytes

    def _result(self) -> CheckResult:
        summary = Summary(
            packages=max(self._packs, self._failed),
            files=self._files,
            bytes=self._bytes,
            bytes_moved=0,
            seconds=time.monotonic() - self._began,
            failed=self._failed,
            unit="pack",
            bytes_unread=self._unread,
            bytes_read=self._bytes - self._unread,
        )
        return CheckResult(summary=summary, findings=tuple(self._findings))


_SOUND: dict[Level, str] = {
    "quick": "present",
    "normal": "present; header and footer are undamaged",
    "data": "every byte is undamaged",
}

_SOUND_PART: dict[Level, str] = {**_SOUND, "normal": "present, not sealed yet; header and records are undamaged"}


def _inspect_part(path: Path, contents: Contents, context: InspectContext) -> Inspection | None:
    """Inspect a part that a writer may extend or seal at the same time; return None if it was sealed."""
    while True:
        known = contents.entries(path.name)
        try:
            inspected = inspect_part(path, known, context)
        except StoreError as error:
            if not path.exists():
                return None
            inspected = Inspection(name=path.name, size=0, problems=(error.message,))
        # If the part was sealed while it was read, and a new one has its name, the index has other rows now.
        if not (inspected.lost or inspected.problems) or contents.entries(path.name) == known:
            return inspected


def _findings(inspected: Inspection, needed: dict[ObjectId, list[PackageName]]) -> Iterator[Finding]:
    damaged = {damage.object for damage in inspected.damages}
    for damage in inspected.damages:
        packages = tuple(needed.get(damage.object, ())) if damage.object and damage.what == "object" else ()
        yield Finding(
            pack=inspected.name,
            what=damage.what,
            object=damage.object,
            offset=damage.extent.offset,
            bytes=damage.extent.length,
            packages=packages,
        )
    for identifier in inspected.lost:
        if identifier not in damaged:
            yield Finding(
                pack=inspected.name, what="object", object=identifier, packages=tuple(needed.get(identifier, ()))
            )
    if inspected.problems:
        yield Finding(pack=inspected.name, what="pack")


def _kind(name: str) -> ResultKind:
    return "pack" if is_hex64(name) else "part"
