"""Random walks of a target: releases are fetched into it in any order, beside files of the user's.

After each fetch the target must be exactly the release plus what the user has there. `Walk` keeps what the program may
have written at each path; everything else on disk is the user's.
"""

import os
import random
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from ptmtorrent.disk import barrier, durable
from ptmtorrent.errors import PtmError
from ptmtorrent.layouts.folders import INCOMING
from ptmtorrent.paths import Home
from ptmtorrent.reading.open_channel import open_channel
from ptmtorrent.state.laid_out import Ledger
from ptmtorrent.stop import Stop
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.pins import Pins
from ptmtorrent.workflows.fetch import assemble, disk_space
from ptmtorrent.workflows.fetch.fetch import FetchRequest, fetch
from ptmtorrent.workflows.verify import verify
from tests.channels import Heard, clock, git_id
from tests.workflows.random_releases import PACKAGES, PATHS, History, Thing

Tree = dict[Path, Thing]


class WrongError(AssertionError):
    """The target is not the release plus the user's files."""


class KilledError(BaseException):
    """Stands for a kill in the middle of a fetch."""


# The target


def read_tree(root: Path) -> Tree:
    """Return every file and link below `root`, but what unfinished fetches keep there."""
    found: Tree = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != INCOMING]
        for name in (*names, *(name for name in folders if (Path(folder) / name).is_symlink())):
            path = Path(folder) / name
            if path.is_symlink():
                found[path] = Thing(os.fsencode(path.readlink()), is_link=True)
            else:
                found[path] = Thing(path.read_bytes(), is_executable=bool(path.stat().st_mode & stat.S_IXUSR))
    return found


def below(tree: Tree, folder: Path) -> Tree:
    return {path: thing for path, thing in tree.items() if folder in path.parents}


class User:
    """Does what users do to a folder, at random. What it writes has bytes that no release has."""

    def __init__(self, source: random.Random, root: Path, outside: Path) -> None:
        self._source, self._root, self._outside = source, root, outside
        self._number = 0

    def act(self) -> str:
        """Do one thing; return what."""
        files = (self._add, self._add, self._edit, self._edit, self._delete, self._chmod, self._touch, self._rename)
        deed = self._source.choice((*files, self._to_folder, self._to_link, self._beside, self._empty_folder))
        deed()
        return deed.__name__.lstrip("_")

    def _bytes(self) -> bytes:
        self._number += 1
        return f"the user's own bytes, {self._number}\n".encode() * self._source.randrange(1, 30)

    def _folder(self) -> Path:
        return self._root.joinpath(*self._source.choice(PACKAGES).split(":"))

    def _some(self) -> Path | None:
        found = sorted(read_tree(self._root))
        return self._source.choice(found) if found else None

    def _write(self, path: Path) -> None:
        with_parents = [parent for parent in path.parents if self._root in parent.parents]
        if any(parent.is_symlink() or parent.is_file() for parent in with_parents) or path.is_dir():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(self._bytes())

    def _add(self) -> None:
        self._write(self._folder() / self._source.choice((*PATHS, "mine.txt", "a/mine.txt", "deep/mine/x")))

    def _beside(self) -> None:
        self._write(self._root / self._source.choice(("notes.txt", "hf/notes.txt", "hf/org/notes", "other/x")))

    def _edit(self) -> None:
        path = self._some()
        if path is not None and not path.is_symlink():
            path.write_bytes(self._bytes())

    def _delete(self) -> None:
        path = self._some()
        if path is not None:
            path.unlink()

    def _to_folder(self) -> None:
        path = self._some()
        if path is not None:
            path.unlink()
            path.mkdir()
            if self._source.random() < 0.7:
                (path / "mine").write_bytes(self._bytes())

    def _to_link(self) -> None:
        path = self._some()
        if path is not None:
            path.unlink()
            path.symlink_to(self._source.choice((self._outside, self._outside / "file", self._outside / "nothing")))

    def _chmod(self) -> None:
        path = self._some()
        if path is not None and not path.is_symlink():
            path.chmod(path.stat().st_mode ^ 0o111)

    def _touch(self) -> None:
        path = self._some()
        if path is not None and not path.is_symlink():
            path.write_bytes(path.read_bytes())

    def _rename(self) -> None:
        path = self._some()
        if path is not None:
            self._number += 1
            path.rename(path.with_name(f"renamed by the user {self._number}"))

    def _empty_folder(self) -> None:
        folder = self._folder()
        path = folder / self._source.choice(PATHS)
        if not any(os.path.lexists(place) for place in (path, *path.parents) if folder in place.parents):
            path.mkdir(parents=True, exist_ok=True)


# Kills

_STEPS: tuple[tuple[Any, str], ...] = (
    (durable, "sync_file"),
    (durable, "sync_dir"),
    (barrier, "sync_disk"),
    (assemble, "name"),
    (assemble, "clear"),
    (assemble, "_put_link"),
    (assemble, "ensure_real_dir"),
    (Ledger, "record"),
    (Ledger, "forget"),
    (Ledger, "announce"),
    (Ledger, "belongs"),
    (disk_space, "remove_unchanged"),
)


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """End the fetch inside the block at its step `step`, before or after the step is done, and everything after it."""
    count = 0

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:  # of any function
            nonlocal count
            count += 2
            if count >= step:
                raise KilledError
            done = real(*arguments, **named)
            if count + 1 >= step:
                count = step
                raise KilledError
            return done

        return run

    patches = [mock.patch.object(owner, name, wrap(getattr(owner, name))) for owner, name in _STEPS]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


# Walks


class Walk:
    """One target and one home, into which releases of a history are fetched in random order."""

    def __init__(self, history: History, root: Path, seed: int, layout: str) -> None:
        self.source = random.Random(seed)
        self.history, self.layout = history, layout
        self.home = Home(root / "user")
        first = read_first_root(history.channel)
        Pins(self.home.trust).add(str(history.channel), fingerprint(first), first)
        self.to, outside = root / "out", root / "outside"
        self.to.mkdir(parents=True)
        outside.mkdir()
        (outside / "file").write_bytes(b"behind a link")
        self.outside, self._behind = outside, read_tree(outside)
        self.user = User(self.source, self.to, outside)
        self.ours: dict[Path, list[Thing]] = {}
        self.did: list[str] = []
        self.counts = Counter[str]()
        self.heard = Heard()

    def step(self) -> None:
        """Let the user do some things, fetch a release, and check the target."""
        for _ in range(self.source.randrange(4)):
            self.did.append(self.user.act())
        name = self.source.choice(sorted(self.history.releases))
        force = self.source.random() < 0.25
        kill = self.source.randrange(2, 60) if self.source.random() < 0.3 else None
        self.did.append(f"fetch {name}{' --force' if force else ''}{f' killed at {kill}' if kill else ''}")
        before = read_tree(self.to)
        heard = self._fetch(name, force=force, kill=kill)
        self._check(name, before, heard, force=force)

    def _fetch(self, name: str, *, force: bool, kill: int | None) -> Heard | None:
        """Fetch a release; return what was heard, None if the fetch was killed."""
        heard = self.heard = Heard()
        request = FetchRequest(packages=PACKAGES, to=self.to, into=self.layout, force=force)  # type: ignore[arg-type]
        try:
            with killed_at(kill or 1 << 62):
                channel = open_channel(str(self.history.channel), name, self.home, clock=clock, emit=heard)
                fetch(request, channel, self.home, clock=clock, emit=heard, stop=Stop())
        except KilledError:
            self.counts["kills"] += 1
            return None
        except PtmError as error:
            raise WrongError(f"the fetch ended with {error!r}") from error
        return heard

    def _check(self, name: str, before: Tree, heard: Heard | None, *, force: bool) -> None:
        after = read_tree(self.to)
        if read_tree(self.outside) != self._behind:
            raise WrongError("something behind a link changed")
        wanted = {package: self._expected(name, package) for package in PACKAGES}
        users = {path: thing for path, thing in before.items() if not any(map(thing.same, self.ours.get(path, ())))}
        for package in PACKAGES:
            folder, status = self._folder(package), heard.results[package].status if heard else "killed"
            self.counts[status] += 1
            if status == "error":
                self._check_refused(wanted[package], below(before, folder), below(after, folder), users, force=force)
            else:
                self._check_kept(wanted[package], users, below(after, folder), folder, force=force)
                if heard:
                    self._check_exact(wanted[package], before, users, below(after, folder))
        folders = [self._folder(package) for package in PACKAGES]
        rest = {path: thing for path, thing in before.items() if not any(each in path.parents for each in folders)}
        if rest != {path: thing for path, thing in after.items() if not any(each in path.parents for each in folders)}:
            raise WrongError("something beside the packages changed")
        for package in PACKAGES:
            for path, thing in wanted[package].items():
                self.ours.setdefault(path, []).append(thing)
        if heard and all(result.status in {"ok", "notneeded"} for result in heard.results.values()):
            self._check_verify(wanted, after)
            if (self.to / INCOMING).exists():
                raise WrongError(f"unfinished files are left: {sorted((self.to / INCOMING).iterdir())}")

    def _folder(self, package: str) -> Path:
        return self.to.joinpath(*package.split(":"))

    def _expected(self, name: str, package: str) -> Tree:
        return {self._folder(package) / path: thing for path, thing in self.history.releases[name][package].items()}

    def _check_exact(self, wanted: Tree, before: Tree, users: Tree, after: Tree) -> None:
        """Every file of the release is there; all else is the user's, as it was."""
        for path, thing in wanted.items():
            if after.get(path) != thing:
                raise WrongError(f"`{path}` is {after.get(path)}, not {thing}")
        for path, thing in after.items():
            if path not in wanted and (path not in users or before[path] != thing):
                raise WrongError(f"`{path}` is neither of the release nor the user's: {thing}")

    def _check_kept(self, wanted: Tree, users: Tree, after: Tree, folder: Path, *, force: bool) -> None:
        """What is the user's is as it was, but for what `--force` may replace."""
        for path, thing in below(users, folder).items():
            in_the_way = path in wanted or any(path in other.parents for other in wanted)
            adopted = thing.same(wanted.get(path))
            if after.get(path) != thing and not adopted and not (force and in_the_way):
                raise WrongError(f"the user's `{path}` is {after.get(path)}, not {thing}")

    def _check_refused(self, wanted: Tree, before: Tree, after: Tree, users: Tree, *, force: bool) -> None:
        """A package is refused for what is the user's and in the way, and then nothing of it changes."""
        if before != after:
            changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
            raise WrongError(
                f"a package was refused and changed: {[(p, before.get(p), after.get(p)) for p in changed]}"
            )
        for path, thing in users.items():
            if any(other in path.parents for other in wanted):
                return  # a folder with something of the user's is in the way
            in_the_way = path in wanted or any(path in other.parents for other in wanted)
            if in_the_way and not force and not thing.same(wanted.get(path)):
                return
        raise WrongError("a package was refused although nothing is in its way")

    def _check_verify(self, wanted: Mapping[str, Tree], after: Tree) -> None:
        """`verify` calls a package right exactly if its folder is the package and no more."""
        told = Heard()
        verify(self.home, str(self.to), emit=told, stop=Stop())
        for package, tree in wanted.items():
            exact = set(below(after, self._folder(package))) == set(tree)
            if (told.results[package].status == "ok") != exact:
                raise WrongError(f"`verify` says {told.results[package]} of `{package}`")


def walk(history: History, root: Path, seed: int, *, layout: str, steps: int) -> Counter[str]:
    """Walk `steps` steps; return counts of what happened.

    Raises:
        WrongError: a check failed; the message has the seed and the steps.
    """
    walking = Walk(history, root, seed, layout) if layout == "dir" else CacheWalk(history, root, seed, layout)
    try:
        for _ in range(steps):
            walking.step()
    except AssertionError as error:
        said = "; ".join(f"{each.id}: {each.reason}" for each in walking.heard.results.values())
        raise WrongError(f"seed {seed}, {layout}: {error}; steps: {', '.join(walking.did)}; {said}") from error
    finally:
        shutil.rmtree(root, ignore_errors=True)
    walking.counts["fetches"] += steps
    return walking.counts


class CacheWalk(Walk):
    """A walk of a Hugging Face cache, which keeps several snapshots side by side."""

    def _folder(self, package: str) -> Path:
        return self.to / f"models--{package.partition(':')[2].replace('/', '--')}"

    def _check(self, name: str, before: Tree, heard: Heard | None, *, force: bool) -> None:
        after = read_tree(self.to)
        if read_tree(self.outside) != self._behind:
            raise WrongError("something behind a link changed")
        places: set[Path] = set()
        for package in PACKAGES:
            status = heard.results[package].status if heard else "killed"
            self.counts[status] += 1
            for file, thing in self._snapshot(name, package).items():
                places |= {file, self._folder(package) / "blobs" / git_id(thing.data)}
                if status not in {"error", "killed"} and file.read_bytes() != thing.data:
                    raise WrongError(f"`{file}` is not the file of the release")
        for path, thing in before.items():
            ours = any(map(thing.same, self.ours.get(path, ()))) or path.parent.name in {"refs", "trees"}
            in_the_way = path in places or any(path in other.parents for other in places)
            if after.get(path) != thing and not ours and not (force and in_the_way):
                raise WrongError(f"`{path}` is {after.get(path)}, not {thing}")
        for path, thing in after.items():
            if before.get(path) != thing:
                self.ours.setdefault(path, []).append(thing)
                if path not in places and path.parent.name not in {"refs", "trees"}:
                    raise WrongError(f"`{path}` is of no release")

    def _snapshot(self, name: str, package: str) -> Tree:
        """Return the files of a package in the folder of its commit."""
        folder = self._folder(package) / "snapshots" / self.history.commits[name][package]
        return {folder / path: thing for path, thing in self.history.releases[name][package].items()}
