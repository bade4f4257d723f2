"""The operations on a store that are disturbed: what each starts from, what it does, what must hold afterwards.

An operation tells `report` a number when something is durable by its promise. Whatever was reported must be there after
any fault, the store must be whole, and the same operation run again must end where an undisturbed one does.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from ptmtorrent.channel.paths import pack_path
from ptmtorrent.disk.durable import disk_errors, files_in
from ptmtorrent.errors import PtmError, StoreError
from ptmtorrent.model.ids import PackId
from ptmtorrent.model.records import ignore
from ptmtorrent.paths import Home
from ptmtorrent.stop import Stop
from ptmtorrent.store.index import known_files, runs
from ptmtorrent.store.maintenance.gc_marks import read_marks
from ptmtorrent.store.maintenance.rewrite_pack import rewrite_pack, store_whole
from ptmtorrent.store.pack.reader import packs_on_disk
from ptmtorrent.store.recovery.quarantine import DAMAGED
from ptmtorrent.store.store import VERSION_NAME, Store
from ptmtorrent.workflows.maintain import repair as repair_workflow
from ptmtorrent.workflows.maintain.check import check as check_store
from ptmtorrent.workflows.maintain.gc import gc as collect
from tests.faults.store_world import LOOSE_STEP, World, check_clean, contents, store_superseded, unsealed
from tests.store.samples import META, add_bytes, name_of, random_bytes

Report = Callable[[int], None]
Act = Callable[[Home, World, Report], None]
Prepare = Callable[[Home, World], None]
Promised = Callable[[Home, Sequence[int]], list[str]]

FOUND_DEAD = datetime(2026, 11, 22, 12, tzinfo=UTC)
ELSEWHERE = "elsewhere"
MERGES = 3
FOLDS = 3
SHM = "index.sqlite-shm"
"""SQLite's shared memory, which readers may make too; it means nothing once nobody has the index open."""


@dataclass(frozen=True)
class Operation:
    """All steps of the world are `committed` before, or those it reports; `promised` says which promise does not hold.

    `forgets` are steps whose file may be unknown afterwards: no manifest tells of it, or it is damaged. A store that is
    `damaged` need not be whole before the operation has reported.
    """

    name: str
    prepare: Prepare
    act: Act
    promised: Promised | None = None
    committed: Literal["all", "reported", "none"] = "all"
    reads_only: bool = False
    forgets: tuple[int, ...] = ()
    damaged: bool = False


def ingest(home: Home, world: World, report: Report) -> None:
    """Store the world step by step, each committed."""
    with Store.open(home.store, write=True) as store:
        for number in range(len(world.steps)):
            world.take(store, number)
            store.commit()
            report(number)


def seal(home: Home, world: World, report: Report) -> None:  # noqa: ARG001  # operations look alike
    """Seal the open parts."""
    with Store.open(home.store, write=True) as store:
        store.seal()
        report(0)


def merge(home: Home, world: World, report: Report) -> None:  # noqa: ARG001  # operations look alike
    """Seal a pack so often that the runs of the index are merged, and what was merged again."""
    with few_runs(), Store.open(home.store, write=True) as store:
        for number in range(MERGES):
            store.put(_merged(number), pack_class=META)
            store.seal()
            report(number)


def _merged(number: int) -> bytes:
    return random_bytes(2_000, 90 + number)


def fold(home: Home, world: World, report: Report) -> None:  # noqa: ARG001  # operations look alike
    """Commit so often that rows of an open part become runs, and hashes of files generations, which are merged."""
    with few_runs(), Store.open(home.store, write=True) as store:
        for number in range(FOLDS):
            add_bytes(store, home.root, f"{number}.bin", _folded(number), META)
            store.commit()
            report(number)


def _folded(number: int) -> bytes:
    return random_bytes(1_500, 190 + number)


@contextmanager
def few_runs() -> Iterator[None]:
    """Have two runs of the index merged, in place of sixteen, and made of few rows."""
    fan, fresh, staged = runs.FAN, known_files.FRESH_FILES, known_files.STAGED_ROWS
    runs.FAN = known_files.FAN = 2
    known_files.FRESH_FILES = known_files.STAGED_ROWS = 1
    try:
        yield
    finally:
        runs.FAN = known_files.FAN = fan
        known_files.FRESH_FILES, known_files.STAGED_ROWS = fresh, staged


def init(home: Home, world: World, report: Report) -> None:  # noqa: ARG001
    """Make an empty store."""
    with Store.open(home.store, write=True):
        report(0)


def heal(home: Home, world: World, report: Report) -> None:  # noqa: ARG001
    """Open a store that a crash left."""
    with Store.open(home.store, write=True):
        report(0)


def check(home: Home, world: World, report: Report) -> None:  # noqa: ARG001
    """Check every byte."""
    checked = check_store(home, "data", emit=ignore, stop=Stop())
    if checked.summary.failed:
        raise StoreError(f"the check found {checked.summary.failed} things wrong")
    report(0)


def gc(home: Home, world: World, report: Report) -> None:  # noqa: ARG001
    """Mark what is dead, and let it go a day and an hour later."""
    collect(home, clock=lambda: FOUND_DEAD, emit=ignore, uptime=lambda: ("boot", 0))
    report(0)
    later = timedelta(hours=25)
    collect(
        home,
        clock=lambda: FOUND_DEAD + later,
        emit=ignore,
        uptime=lambda: ("boot", int(later.total_seconds())),
    )
    report(1)


def adopt(home: Home, world: World, report: Report) -> None:  # noqa: ARG001
    """Take in the packs of another store, which are copied to `incoming` first, as a fetch does."""
    with disk_errors(home.incoming):
        home.incoming.mkdir(exist_ok=True)
        for path in files_in(home.root / ELSEWHERE):
            if not (home.store / pack_path(PackId(path.stem))).exists():
                shutil.copyfile(path, home.incoming / path.name)
    with Store.open(home.store, write=True) as store:
        for path in files_in(home.incoming):
            store.adopt_pack(path, PackId(path.stem))
        report(0)


def repair(home: Home, world: World, report: Report) -> None:  # noqa: ARG001
    """Repair what can be repaired without a channel."""
    repair_workflow.repair(home, None, emit=ignore, stop=Stop())
    report(0)


def rewrite(home: Home, world: World, report: Report) -> None:  # noqa: ARG001
    """Store deltas whole, then half of the objects of every pack in a pack of their own."""
    with Store.open(home.store, exclusive=True) as store:
        for pack in store.packs():
            for entry in store.contents.entries(pack):
                if entry.base is not None:
                    store_whole(store, pack, entry)
        store.seal()
        report(0)
        for pack in store.packs():
            rewrite_pack(store, pack, lambda entry: int(entry.id, 16) % 2 == 0)
        report(1)


def _nothing(home: Home, world: World) -> None:
    pass


def _ingested(home: Home, world: World) -> None:
    ingest(home, world, lambda _: None)


def _sealed(home: Home, world: World) -> None:
    """Two steps are sealed, the others lie in open parts."""
    with Store.open(home.store, write=True) as store:
        for number in range(len(world.steps)):
            world.take(store, number)
            store.commit()
            if number == 1:
                store.seal()


def _crashed(home: Home, world: World) -> None:
    """A sealed pack is not indexed, a part is torn, a temporary file and a part of another writer were left."""
    _sealed(home, world)
    with Store.open(home.store, write=True) as store, store._index.transaction():
        pack = store.packs()[0]
        store._index.drop(pack)
        (home.store / pack_path(pack)).with_name(".tmp-left").write_bytes(b"half")
    part = min((home.store / "open").glob("weights*.part"))
    shutil.copy(part, part.with_name("weights-hot-open.0a0b0c0d.part"))
    with part.open("ab") as file:
        file.write(b"PTMo torn")


def _superseded(home: Home, world: World) -> None:
    store_superseded(home, world.folder)
    _sealed(home, world)


def _bad_footer(home: Home, world: World) -> None:
    """The footer of a pack is damaged, and the hashes of another are lost."""
    _superseded(home, world)
    weights, cold, *_ = sorted(
        home.store.glob("packs/*/*.pack"), key=lambda path: path.read_bytes()[:200], reverse=True
    )
    at = weights.read_bytes().rindex(b"PTMF")
    _flip(weights, at + 200)
    next(home.store.glob(f"hashes/*/{cold.stem}.json")).unlink()


def _bad_object(home: Home, world: World) -> None:
    """An object of a sealed pack is damaged for good: of the file that no manifest tells of."""
    _sealed(home, world)
    (lost,) = (data for data in world.steps[LOOSE_STEP].files.values())
    with Store.open(home.store) as store:
        location = store.location(name_of(lost))
        _flip(store.pack_file(location.pack), location.offset + 100)


def _bad_part(home: Home, world: World) -> None:
    """An object in an unsealed part is damaged, before others that were committed: of the same file."""
    _ingested(home, world)
    (lost,) = (data for data in world.steps[LOOSE_STEP].files.values())
    with Store.open(home.store) as store:
        found = store._index.find(name_of(lost))
    if found is not None:
        _flip(home.store / "open" / str(found.part), found.entry.offset + 100)


def _bad_index(home: Home, world: World) -> None:
    _sealed(home, world)
    (home.store / "index.sqlite").write_bytes(b"no database" * 1000)


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def _from_elsewhere(home: Home, world: World) -> None:
    """The world is in open parts; packs of another store lie ready."""
    _ingested(home, world)
    (home.root / ELSEWHERE).mkdir()
    with TemporaryDirectory() as folder:
        store_superseded(Home(Path(folder)), world.folder)
        for path in Home(Path(folder)).store.glob("packs/*/*.pack"):
            shutil.copy(path, home.root / ELSEWHERE / path.name)


def _made_is_there(home: Home, reported: Sequence[int]) -> list[str]:
    return ["lost: the store"] if reported and not (home.store / VERSION_NAME).is_file() else []


def _sealed_is_sealed(home: Home, reported: Sequence[int]) -> list[str]:
    return unsealed(home) if reported else []


def _merged_is_listed(home: Home, reported: Sequence[int]) -> list[str]:
    """What was sealed before runs were merged is in a pack that the index lists."""
    with Store.open(home.store, write=True) as store:
        found = [store._index.find(name_of(_merged(number))) for number in reported]
    unlisted = [number for number, one in zip(reported, found, strict=True) if one is None or one.pack is None]
    return [f"lost: the pack of step {number}" for number in unlisted]


def _folded_is_known(home: Home, reported: Sequence[int]) -> list[str]:
    """What was committed while rows were moved is listed and readable."""
    with Store.open(home.store, write=True) as store:
        lost = [number for number in reported if not store.has(name_of(_folded(number)))]
        lost += [number for number in reported if number not in lost and store.read(name_of(_folded(number))) == b""]
    return [f"lost: the file of step {number}" for number in lost]


def _marked_is_marked(home: Home, reported: Sequence[int]) -> list[str]:
    """A dead pack is marked, and later gone for good."""
    dead = [path for path in (home.store / "packs").glob("*/*.pack") if b"weights-cold" in path.read_bytes()[:200]]
    if 1 in reported and dead:
        return ["lost: a pack that was let go is back"]
    lost = 0 in reported and dead and not read_marks(home.store)
    return ["lost: the marks"] if lost else []


def _adopted_is_here(home: Home, reported: Sequence[int]) -> list[str]:
    """An adopted pack is whole, and in its place once that was reported; opening the store indexes it if need be."""
    problems = [
        f"bad: {path.name}" for path in home.store.glob("packs/*/*.pack") if name_of(path.read_bytes()) != path.stem
    ]
    if not reported:
        return problems
    missing = {path.stem for path in (home.root / ELSEWHERE).glob("*.pack")} - packs_on_disk(home.store).keys()
    return [*problems, *(f"lost: the adopted pack {name}" for name in missing)]


def _set_aside(home: Home, reported: Sequence[int]) -> list[str]:
    """What could not be repaired is kept in `damaged/`."""
    return ["lost: what was set aside"] if reported and not files_in(home.store / DAMAGED) else []


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("init", _nothing, init, _made_is_there, committed="none"),
        Operation("ingest", _nothing, ingest, committed="reported"),
        Operation("seal", _ingested, seal, _sealed_is_sealed),
        Operation("merge", _sealed, merge, _merged_is_listed),
        Operation("fold", _sealed, fold, _folded_is_known),
        Operation("heal", _crashed, heal),
        Operation("rescue", _bad_part, heal, _set_aside, damaged=True, forgets=(LOOSE_STEP,)),
        Operation("check", _sealed, check, reads_only=True),
        Operation("gc", _superseded, gc, _marked_is_marked),
        Operation("rewrite", _sealed, rewrite, _sealed_is_sealed),
        Operation("adopt", _from_elsewhere, adopt, _adopted_is_here),
        Operation("repair", _bad_footer, repair, damaged=True),
        Operation("salvage", _bad_object, repair, _set_aside, damaged=True, forgets=(LOOSE_STEP,)),
        Operation("rebuild", _bad_index, repair, _set_aside, damaged=True, forgets=(LOOSE_STEP,)),
    )
}


class Stage:
    """An operation with what it starts from and what an undisturbed run ends with, made once."""

    def __init__(self, operation: Operation, folder: Path, seed: int = 0) -> None:
        self.operation = operation
        self.folder = folder
        folder.mkdir(parents=True)
        self.world = World(folder / "files", seed)
        self._start = Home(folder / "start")
        self._start.root.mkdir()
        operation.prepare(self._start, self.world)
        reference = self.fresh("reference")
        operation.act(reference, self.world, lambda _: None)
        self.expected = contents(reference, [self.world])
        shutil.rmtree(reference.root)
        self.print = fingerprint(self._start)

    def fresh(self, name: str, under: Path | None = None) -> Home:
        """Return a home as the operation finds it; what was there is removed."""
        home = Home((under or self.folder) / name)
        self.remove(home)
        shutil.copytree(self._start.root, home.root)
        return home

    def remove(self, home: Home) -> None:
        """Remove a home that is no longer needed."""
        shutil.rmtree(home.root, ignore_errors=True)

    def act(self, home: Home, report: Report) -> None:
        """Do it."""
        self.operation.act(home, self.world, report)

    def problems(self, home: Home, reported: Sequence[int], *, beside: bool = False) -> list[str]:
        """Say what is wrong after a fault, then run the operation again and say what is wrong at its end.

        `beside` when somebody else wrote the store too.
        """
        try:
            return self._problems(home, reported, beside=beside)
        except (PtmError, OSError) as error:
            return [f"bad: {type(error).__name__}: {error}"]

    def _problems(self, home: Home, reported: Sequence[int], *, beside: bool) -> list[str]:
        if self.operation.reads_only and fingerprint(home) != self.print:
            return ["bad: a reader changed the store"]
        steps = range(len(self.world.steps))
        problems = list(self.operation.promised(home, reported)) if self.operation.promised is not None else []
        if reported or not self.operation.damaged:
            problems += self._kept(home, reported if self.operation.committed == "reported" else steps)
        self.act(home, lambda _: None)
        if not beside and contents(home, [self.world]) != self.expected:
            problems.append("bad: running again ends elsewhere")
        return problems + self._kept(home, steps)

    def _kept(self, home: Home, steps: Sequence[int]) -> list[str]:
        """Open the store for writing, which heals it, and say what is wrong with it."""
        if self.operation.committed == "none":
            steps = ()
        with Store.open(home.store, write=True) as store:
            kept = [number for number in steps if number not in self.operation.forgets]
            problems = self.world.check_kept(store, kept)
        return problems + check_clean(home)


def fingerprint(home: Home) -> dict[str, str]:
    """Return the hash of every file of the store, those left out that say nothing."""
    found = {}
    for path in sorted(home.store.rglob("*")):
        if path.is_file() and path.name != SHM and not (path.name.endswith("-wal") and not path.stat().st_size):
            found[str(path.relative_to(home.store))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
