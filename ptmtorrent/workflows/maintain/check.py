"""`store check`: is everything there, and is it what it was? Nothing is changed, and others may write meanwhile.

Three levels. What a level did not read is said, in words and in the summary: it is known good only as of when it was
written.
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
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter, new_meter
from ptmtorrent.stop import Stop
from ptmtorrent.store.contents import INDEX_NAME, Contents, open_contents
from ptmtorrent.store.maintenance.quick_check import check_index
from ptmtorrent.store.maintenance.verify_pack import Expectation
from ptmtorrent.store.pack.hashes import read_sidecar
from ptmtorrent.store.recovery.quarantine import DAMAGED
from ptmtorrent.store.recovery.recover import packs_on_disk
from ptmtorrent.store.store import Store
from ptmtorrent.workflows.maintain.captured import packages_with, read_captured, read_or_none, require_store
from ptmtorrent.workflows.maintain.inspect import MISSING, Glass, Level, Looked, describe, look_at_packs, look_at_part
from ptmtorrent.workflows.maintain.prove_commit import is_provable, prove
from ptmtorrent.workflows.maintain.released import read_released


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One damaged thing: `what` is contents, pack, header, record, object, footer, padding, bytes, or package.

    `offset` and `bytes` say where in the pack, where that is known; `packages` are those that need the object.
    """

    pack: str
    what: str
    object: ObjectId | None = None
    offset: int | None = None
    bytes: int | None = None
    packages: tuple[PackageName, ...] = ()


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found: the last word, and every damaged thing."""

    summary: Summary
    findings: tuple[Finding, ...]


def check(home: Home, level: Level, *, emit: Emit, stop: Stop) -> Checked:
    """Check the store of `home`; a record a pack and part, and one for the index and for each incomplete package.

    Raises:
        NotFound: there is no store.
        StoreError: it cannot be read at all.
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
    """One check. The store reads for the workers; `contents` is this thread's own connection."""

    def __init__(self, home: Home, level: Level, emit: Emit, stop: Stop) -> None:
        self._home, self._level, self._emit, self._stop = home, level, emit, stop
        self._began = time.monotonic()
        self._findings: list[Finding] = []
        self._damaged: list[Looked] = []
        self._names: set[str] = set()
        self._packs = self._files = self._bytes = self._unread = self._failed = self._proven = 0

    def without_index(self, problems: Sequence[str]) -> Checked:
        """Say what is wrong with the index; without it nothing else can be told."""
        self._fail("index", "index", f"the index is damaged: {'; '.join(problems)}")
        again = "nothing else was checked; make the index again: ptmtorrent store repair --index"
        self._emit(Note(message=again, warning=True))
        return self._checked()

    def check(self, store: Store, contents: Contents) -> Checked:
        """Look at everything there is."""
        sizes = contents.packs()
        strays = {pack: size for pack, size in packs_on_disk(store.root).items() if pack not in sizes}
        meter = new_meter(
            "check", self._emit, time.monotonic, bytes_total=sum(sizes.values()), packages_total=len(sizes)
        )
        glass = Glass(self._level, store.has, lambda identifier: read_or_none(store, identifier), self._counter(meter))
        for looked in look_at_packs(store.root, self._expect(store, contents, sizes), glass):
            self._take(looked, contents)
            meter.add(packages=1)
        unindexed = msgspec.structs.replace(glass, is_here=lambda _: True)
        for looked in look_at_packs(store.root, self._expect(store, contents, strays), unindexed):
            self._take(looked, contents, is_stray=True)
        self._take_parts(store, contents, glass)
        meter.finish()
        if self._level != "quick":
            self._check_released(sizes | strays)
        self._report_damaged(packages_with(store, contents, {lost for looked in self._damaged for lost in looked.lost}))
        if self._level != "quick":
            self._check_captures(store, contents)
        self._say_unread()
        self._say_aside(store.root / DAMAGED)
        if strays:
            unknown = f"{len(strays)} packs are not in the index yet; the next command that writes takes them in"
            self._emit(Note(message=f"{unknown}: check again after it"))
        return self._checked()

    def _expect(self, store: Store, contents: Contents, sizes: dict[PackId, int]) -> Iterator[Expectation]:
        for pack, size in sizes.items():
            known = read_sidecar(store.root, pack)
            entries = () if self._level == "quick" else tuple(contents.entries(pack))
            yield Expectation(pack=pack, size=size, entries=entries, hashes=known[0] if known else None)

    def _take(self, looked: Looked, contents: Contents, *, is_stray: bool = False) -> None:
        bad = looked.problems or looked.damages or looked.lost
        if bad and is_hex64(looked.name) and not is_stray and looked.name not in contents.packs():
            return  # deleted by another process meanwhile
        self._names.add(looked.name)
        self._packs += 1
        self._files += 1
        self._bytes += looked.size
        self._unread += looked.size - looked.read
        if bad:
            if MISSING in looked.problems:  # the quickest look does not ask what was in it
                looked = msgspec.structs.replace(looked, lost=tuple(e.id for e in contents.entries(looked.name)))
            self._damaged.append(looked)
            return
        sound = _SOUND if is_hex64(looked.name) else _SOUND_PART
        self._emit(
            Result(kind=_kind(looked.name), id=looked.name, status="ok", reason=sound[self._level], bytes=looked.size)
        )

    def _take_parts(self, store: Store, contents: Contents, glass: Glass) -> None:
        for path in files_in(store.root / "open", "*.part"):
            self._stop.raise_if_set("the check")
            if (looked := _look_at_part(path, contents, glass)) is not None:
                self._take(looked, contents)
        for part in set(contents.parts()) - self._names:
            if not (store.root / "open" / part).exists() and contents.entries(part):
                self._take(Looked(name=part, size=0, problems=(MISSING,)), contents)

    def _check_released(self, sizes: dict[PackId, int]) -> None:
        """Name packs that our own releases refer to and the store lacks."""
        try:
            released = read_released(self._home.channel)
        except StoreError as error:
            self._emit(Note(message=error.message, warning=True))
            return
        for pack in sorted(released.sizes.keys() - sizes.keys()):
            names = ", ".join(f"`{name}`" for name in released.releases[pack])
            self._fail(pack, "pack", f"it is not in the store; needed by the releases {names}")

    def _report_damaged(self, needed: dict[ObjectId, list[PackageName]]) -> None:
        for looked in self._damaged:
            gone = [*looked.lost]
            packages = sorted({package for identifier in gone for package in needed.get(identifier, ())})
            needs = f"; needed by {', '.join(f'`{package}`' for package in packages)}" if packages else ""
            self._failed += 1
            reason = "; ".join(describe(looked)) + needs
            self._emit(
                Result(kind=_kind(looked.name), id=looked.name, status="error", reason=reason, bytes=looked.size)
            )
            self._findings += _findings(looked, needed)

    def _check_captures(self, store: Store, contents: Contents) -> None:
        """Say of every package whether its manifest can be read and everything it needs is located."""
        for captured in read_captured(store):
            self._stop.raise_if_set("the check")
            package, manifest = captured.capture.package, captured.manifest
            if manifest is None:
                reason = captured.error.message if captured.error else "its manifest is missing"
                snapshot = ObjectId(captured.capture.snapshot)
                self._fail(package, "package", f"its manifest cannot be read: {reason}", snapshot)
                continue
            missing = [identifier for identifier, _ in manifest.objects if not contents.is_located(identifier)]
            if missing:
                named = ", ".join(f"`{identifier}`" for identifier in missing[:8])
                self._fail(package, "package", f"the store lacks {len(missing)} of its objects: {named}", missing[0])
            elif is_provable(manifest):
                self._prove(store, manifest)
        if self._proven:
            from_bytes = ", hashed again from the stored bytes" if self._level == "data" else ""
            self._emit(Note(message=f"{self._proven} packages belong to their upstream git commits{from_bytes}"))

    def _prove(self, store: Store, manifest: Manifest) -> None:
        package = manifest.package.package
        try:
            prove(store, manifest, thorough=self._level == "data", stop=self._stop)
        except Interrupted:
            raise
        except PtmError as error:
            self._fail(package, "package", f"it is not what its upstream commit names: {error.message}")
        else:
            self._proven += 1

    def _fail(self, name: str, what: ResultKind, reason: str, identifier: ObjectId | None = None) -> None:
        self._failed += 1
        self._emit(Result(kind=what, id=name, status="error", reason=reason))
        packages = (PackageName(name),) if what == "package" else ()
        pack = "" if what == "package" else name
        self._findings.append(Finding(pack=pack, what=what, object=identifier, packages=packages))

    def _say_unread(self) -> None:
        if self._unread:
            self._emit(
                Note(
                    message=f"{self._unread:,} of {self._bytes:,} bytes in {self._packs} packs were not read: they are"
                    " known good only as of when they were written; `ptmtorrent store check --data` reads them"
                )
            )

    def _say_aside(self, folder: Path) -> None:
        """Name damaged parts, which opening the store put aside by itself."""
        for path in files_in(folder, "*.part"):
            aside = f"the part `{path.name}` was damaged, and is kept as `{path}`"
            saved = "what was whole in it was saved, what was not is captured again by `ptmtorrent clone`"
            self._emit(Note(message=f"{aside}: {saved}; remove the file when it is of no more use", warning=True))

    def _counter(self, meter: Meter) -> Callable[[int], None]:
        def count(size: int) -> None:
            self._stop.raise_if_set("the check")
            meter.add(bytes=size // 2)  # every byte is dealt with twice: hashed, and decoded

        return count

    def _checked(self) -> Checked:
        summary = Summary(
            packages=max(self._packs, self._failed),
            files=self._files,
            bytes=self._bytes,
            bytes_moved=0,
            seconds=time.monotonic() - self._began,
            failed=self._failed,
            unit="pack",
            bytes_unread=self._unread,
        )
        return Checked(summary=summary, findings=tuple(self._findings))


_SOUND: dict[Level, str] = {
    "quick": "it is there",
    "normal": "it is there; header and footer are right",
    "data": "every byte is right",
}

_SOUND_PART: dict[Level, str] = {**_SOUND, "normal": "it is there, not sealed yet; header and records are right"}


def _look_at_part(path: Path, contents: Contents, glass: Glass) -> Looked | None:
    """Inspect a part that a writer may extend or seal meanwhile; None when it was sealed."""
    while True:
        known = contents.entries(path.name)
        try:
            looked = look_at_part(path, known, glass)
        except StoreError as error:
            if not path.exists():
                return None
            looked = Looked(name=path.name, size=0, problems=(error.message,))
        # Sealed, and a new part begun under the name, while it was read: the index has other rows by now.
        if not (looked.lost or looked.problems) or contents.entries(path.name) == known:
            return looked


def _findings(looked: Looked, needed: dict[ObjectId, list[PackageName]]) -> Iterator[Finding]:
    damaged = {damage.object for damage in looked.damages}
    for damage in looked.damages:
        packages = tuple(needed.get(damage.object, ())) if damage.object and damage.what == "object" else ()
        yield Finding(
            pack=looked.name,
            what=damage.what,
            object=damage.object,
            offset=damage.extent.offset,
            bytes=damage.extent.length,
            packages=packages,
        )
    for identifier in looked.lost:
        if identifier not in damaged:
            yield Finding(
                pack=looked.name, what="object", object=identifier, packages=tuple(needed.get(identifier, ()))
            )
    if looked.problems:
        yield Finding(pack=looked.name, what="pack")


def _kind(name: str) -> ResultKind:
    return "pack" if is_hex64(name) else "part"
