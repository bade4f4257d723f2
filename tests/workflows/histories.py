"""Random histories of a home: captures, changes of rights, repacks and lost packs, with a release after each step.

`check_release` compares a release with one of the same store that is made from nothing, in another home.
"""

import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import duckdb

from ptmtorrent.catalogue.columns import FILE_COLUMNS, PACKAGE_COLUMNS
from ptmtorrent.catalogue.index import Described, describe_members, find_members
from ptmtorrent.catalogue.query import read_packages
from ptmtorrent.channel.folder import OwnReader
from ptmtorrent.channel.paths import pack_path
from ptmtorrent.model.ids import ReleaseName, object_id
from ptmtorrent.model.members import decode_shard, decode_tree
from ptmtorrent.model.policy import Policy, PolicyFile, new_policy
from ptmtorrent.model.records import Note, Result, ignore
from ptmtorrent.model.release import Release
from ptmtorrent.paths import Home
from ptmtorrent.store import codecs
from ptmtorrent.store.maintenance.rewrite_pack import rewrite_pack
from ptmtorrent.store.store import Store
from ptmtorrent.trust.keys import Keys
from ptmtorrent.workflows.release.release import release
from tests.workflows.captured import Listener, TickingClock, capture, new_home, writing

CURRENT = "QUALIFY release = max(release) OVER (PARTITION BY package) AND snapshot IS NOT NULL"
"""The SQL that docs/formats/release.md gives to users of the tables."""


@dataclass
class History:
    """A home whose packages change; `open` has the packages that a release may name, and all files of each."""

    home: Home
    keys: Keys
    root: Path
    random: random.Random
    packages: dict[str, dict[str, bytes]] = field(default_factory=dict)
    rights: dict[str, str] = field(default_factory=dict)
    excluded: set[str] = field(default_factory=set)
    complete: bool = True
    number: count = field(default_factory=count)  # type: ignore[type-arg]  # of integers
    clock: TickingClock = field(default_factory=TickingClock)

    @property
    def members(self) -> dict[str, dict[str, bytes]]:
        """The files of the packages that a release has."""
        return {
            name: files
            for name, files in self.packages.items()
            if self.rights[name] == "open" and name not in self.excluded
        }

    def capture(self, name: str, *, downloads: int | None = None) -> None:
        """Capture a package as it is now."""
        number = next(self.number)
        rights = self.rights[name]
        with writing(self.home) as store:
            capture(
                store,
                self.root,
                name,
                self.packages[name],
                rights=rights,
                licence="mit" if rights == "open" else "cc-by-nc-4.0",
                downloads=downloads if downloads is not None else self.random.randrange(100),
                captured=f"2026-11-20T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
            )
            if self.random.random() < 0.5:
                store.seal()

    def add(self) -> None:
        """Capture a new package; some of its files are those of another one."""
        name = f"hf:org-{self.random.randrange(50)}/m-{next(self.number)}"
        files = {"own.safetensors": self._bytes(), "config.json": f'{{"n":{self.random.randrange(3)}}}'.encode()}
        if self.packages and self.random.random() < 0.5:
            files["shared.safetensors"] = self.packages[self.any()].get("own.safetensors", b"none")
        self.packages[name], self.rights[name] = files, "open"
        self.capture(name)

    def change(self) -> None:
        """Capture a package again, with another file."""
        name = self.any()
        self.packages[name] = {**self.packages[name], f"f{self.random.randrange(3)}.safetensors": self._bytes()}
        self.capture(name)

    def recount(self) -> None:
        """Capture a package again, with the same files."""
        self.capture(self.any())

    def close(self) -> None:
        """Capture a package again, which is restricted now or open again."""
        name = self.any()
        self.rights[name] = "restricted" if self.rights[name] == "open" else "open"
        self.capture(name)

    def exclude(self) -> None:
        """Have the policy exclude a package, or no more."""
        self.excluded ^= {self.any()}

    def repack(self) -> None:
        """Move some objects of a pack to another one."""
        with Store.open(self.home.store, exclusive=True) as store:
            store.seal()
            pack = self.random.choice(store.packs())
            rewrite_pack(store, pack, lambda _: self.random.random() < 0.5)

    def rebuild(self) -> None:
        """Rebuild the index from the packs."""
        with Store.open(self.home.store, exclusive=True) as store:
            store.seal()
            store.rebuild_index()

    @contextmanager
    def without_a_pack(self) -> Iterator[None]:
        """Lose a pack of weights in the block; it comes back afterwards."""
        with Store.open(self.home.store, exclusive=True) as store:
            store.seal()
            packs = [
                path for path in map(store.pack_file, store.packs()) if b'"class":"weights' in path.read_bytes()[:200]
            ]
        path = self.random.choice(packs)
        hidden = self.root / path.name
        path.rename(hidden)
        self.complete = False
        try:
            yield
        finally:
            hidden.rename(path)
            self.complete = True

    def step(self, operations: Mapping[str, int]) -> str:
        """Do one of `operations`, by its weight; return its name."""
        [name] = self.random.choices(list(operations), list(operations.values()))
        getattr(self, name if len(self.members) > 1 else "add")()
        return name

    def policy(self) -> Policy:
        """The policy of the next release."""
        return new_policy(PolicyFile(exclude=dict.fromkeys(sorted(self.excluded), "asked")), {}, name="policy")

    def release(self, home: Home | None = None, keys: Keys | None = None) -> Release:
        """Make the next release; in another home, the same one."""
        name = ReleaseName(f"r{next(self.number) if home is None else home.root.name}")
        return release(name, home or self.home, keys or self.keys, clock=self.clock, emit=ignore, policy=self.policy())

    def hear(self, number: int) -> tuple[Release, list[str]]:
        """Make the release of a number by a clock that starts anew; return it, and what was said of packages."""
        heard = Listener()
        made = release(
            ReleaseName(f"r{number}"), self.home, self.keys, clock=TickingClock(), emit=heard, policy=self.policy()
        )
        return made, [
            repr(event)
            for event in heard.events
            if isinstance(event, (Note, Result)) and self.home.root.name not in repr(event)
        ]

    def any(self) -> str:
        """The name of a package."""
        return self.random.choice(sorted(self.packages))

    def _bytes(self) -> bytes:
        return self.random.randbytes(self.random.randrange(200, 2_000))


def new_history(root: Path, seed: int) -> History:
    """A home with three packages."""
    home, keys = new_home(root / "home")
    history = History(home, keys, root, random.Random(seed))
    for _ in range(3):
        history.add()
    return history


def check_release(history: History, made: Release) -> None:
    """Compare a release with one made from nothing: roots, documents, tables; and what the files it lists hold."""
    other = Home(history.root / made.name.removeprefix("r"))
    _, keys = new_home(other.root)
    shutil.copytree(history.home.store, other.store)
    whole = history.release(other, keys)
    try:
        assert whole.name == made.name
        assert (made.content_root, made.members_root) == (whole.content_root, whole.members_root)
        assert len(whole.runs) == 1
        ours, theirs = describe(history.home, made), describe(other, whole)
        assert [each.manifest for each in ours] == [each.manifest for each in theirs]
        for each in ours:
            check_files(history.home, each, history.members[each.member.package])
        assert {each.member.package for each in ours} <= history.members.keys()
        assert len(ours) == len(history.members) or not history.complete
        for table in ("packages", "files"):
            assert rows_of(history.home, made, table) == rows_of(other, whole, table)
        facts = read_packages(made, OwnReader(history.home.channel))
        assert facts == read_packages(whole, OwnReader(other.channel))
        assert facts == read_packages(made, OwnReader(history.home.channel), proven=True)
    finally:
        shutil.rmtree(other.root)
    check_listed(history, made)


def describe(home: Home, made: Release) -> list[Described]:
    reader = OwnReader(home.channel)
    found = list(describe_members(find_members(made, reader, (), "all", ()), reader))
    assert [each.error for each in found if each.error] == []
    return sorted(found, key=lambda each: each.member.package)


def check_files(home: Home, each: Described, files: Mapping[str, bytes]) -> None:
    """Compare the files of a member, read from the packs of the channel, with what was captured."""
    assert each.manifest
    assert each.placement
    for file in each.manifest.files:
        parts: list[bytes] = []
        for row in each.manifest.objects_of(file.recipe):
            place, (identifier, size) = each.placement.form(row).at, each.manifest.objects[row]
            payload = (home.channel / pack_path(place.pack)).read_bytes()[place.offset : place.offset + place.length]
            parts.append(codecs.decode(place.codec, payload, size))
            assert object_id(parts[-1]) == identifier
        assert b"".join(parts) == files[file.name]


def rows_of(home: Home, made: Release, table: str) -> list[tuple[Any, ...]]:
    """The rows of a table, by the SQL of its format page."""
    with duckdb.connect() as database:
        for ref in made.tables:
            files = [str(home.channel / file.path) for file in ref.files]
            database.execute(f"CREATE TABLE all_{ref.name} AS SELECT * FROM read_parquet({files})")  # noqa: S608  # our constants
        database.execute(f"CREATE TABLE packages AS SELECT * FROM all_packages {CURRENT}")  # noqa: S608  # our constants
        database.execute("CREATE TABLE files AS SELECT * FROM all_files SEMI JOIN packages USING (package, release)")
        columns = PACKAGE_COLUMNS if table == "packages" else FILE_COLUMNS
        picked = ", ".join(f'"{name}"' for name in columns if name != "release")
        return database.execute(f"SELECT {picked} FROM {table} ORDER BY ALL").fetchall()  # noqa: S608  # our constants


def check_listed(history: History, made: Release) -> None:
    """Check that no listed file names a package that may not be passed on, or holds its documents."""
    channel, allowed = history.home.channel, set(history.members)
    tree = decode_tree((channel / made.tree.path).read_bytes(), "tree")
    for run, listed in zip(made.runs, tree.runs, strict=True):
        data = (channel / run.index.path).read_bytes()
        rows = [
            row
            for shard, length in enumerate(listed.lengths)
            for row in decode_shard(data[listed.offset(shard) : listed.offset(shard) + length], "shard")
        ]
        assert {row.package for row in rows} <= allowed
        assert len(rows) == run.rows
        frames = [(row.frame.file, row.frame.length) for row in rows if row.frame]
        for number, file in enumerate(run.documents):
            assert sum(length for at, length in frames if at == number) == file.size
    for ref in made.tables:
        for file in ref.files:
            found = duckdb.read_parquet(str(channel / file.path)).fetchall()
            assert {row[0] for row in found} <= allowed
