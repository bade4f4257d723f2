"""Places that are normal elsewhere: locales, umasks, users, disks and outputs; every verb runs in each of them."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.faults.store_disks import mounted

TOP = Path(__file__).parents[1]
PACKAGE = "dir:odd"
NAMES = (
    b"caf\xe9.bin",
    "\u65e5\u672c.json".encode(),
    b"\xff\xfe.txt",
    "na\u00efve \u20ac.md".encode(),
    b"d\xe9/x.json",
)
"""Names that are not valid in UTF-8, and names that other encodings lack."""

LOCALES = {"C": "", "C.UTF-8": "", "de_DE.ISO-8859-1": "ISO-8859-1", "ja_JP.EUC-JP": "EUC-JP"}
UMASKS = (0o000, 0o022, 0o027, 0o077)
NOBODY = "12345"
"""A user without an entry in the list of users."""

VERBS: dict[str, tuple[str, ...]] = {
    "clone": ("clone", "dir", "--endpoint", "{source}"),
    "captured": ("captured",),
    "store check": ("store", "check"),
    "keys init": ("keys", "init", "--no-passphrase"),
    "release": ("release", "2026.11", "--include", "unknown"),
    "publish": ("publish", "2026.11", "--to", "{published}"),
    "keys show": ("keys", "show"),
    "releases": ("releases", "--channel", "{channel}"),
    "list": ("list", "--channel", "{channel}"),
    "show": ("show", PACKAGE, "--channel", "{channel}"),
    "subsets": ("subsets", "--channel", "{channel}"),
    "fetch": ("fetch", PACKAGE, "--channel", "{channel}", "--to", "{out}"),
    "fetch again": ("fetch", PACKAGE, "--channel", "{channel}", "--to", "{out}"),
    "fetch --into hf-cache": ("fetch", "hf:quill-lab/quill-base", "--into", "hf-cache", "--to", "{out}/cache"),
    "verify": ("verify",),
    "status": ("status",),
    "doctor": ("doctor",),
    "config show": ("config", "show"),
    "--help": ("fetch", "--help"),
}
READING = (
    "captured",
    "releases",
    "list",
    "show",
    "subsets",
    "fetch again",
    "verify",
    "status",
    "doctor",
    "config show",
)


ALL_PLACES = (
    *LOCALES,
    *(f"umask {umask:03o}" for umask in UMASKS),
    *("no root, no HOME", "read-only", "exFAT", "ASCII output", "closed pipe"),
)


@dataclass
class Place:
    """How verbs are started there. Where `reading`, a home and target that are whole are read; else all verbs run."""

    name: str
    prefix: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    umask: int = 0o022
    owner: int = 0
    reading: bool = False
    closed: bool = False
    exfat: bool = False


@dataclass
class Cell:
    """How a verb ended in a place, and what is wrong with that."""

    code: int
    problem: str = ""

    def __str__(self) -> str:
        return f"BAD: {self.problem}" if self.problem else "ok" if self.code == 0 else str(self.code)


@cache
def locale_folder(root: Path) -> Path:
    """Return a folder with the compiled locales; one that cannot be made is not there."""
    folder = root / "locales"
    folder.mkdir(exist_ok=True)
    for name, charmap in LOCALES.items():
        if charmap and shutil.which("localedef"):
            order = ["localedef", "-i", name.partition(".")[0], "-f", charmap, str(folder / name)]
            subprocess.run(order, capture_output=True, check=False)
    return folder


def places(root: Path) -> list[Place]:
    """Return the places that this machine can show."""
    folder = locale_folder(root)
    found = [
        Place(name, env={"LC_ALL": name, "LOCPATH": str(folder)} if charmap else {"LC_ALL": name})
        for name, charmap in LOCALES.items()
        if not charmap or (folder / name).is_dir()
    ]
    found += [Place(f"umask {umask:03o}", umask=umask) for umask in UMASKS]
    if os.geteuid() == 0 and shutil.which("setpriv"):
        kept = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        order = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", *kept)
        found.append(Place("no root, no HOME", prefix=order, owner=int(NOBODY)))
    if os.geteuid() == 0:
        found.append(Place("read-only", reading=True))
    if os.geteuid() == 0 and shutil.which("mkfs.exfat"):
        found.append(Place("exFAT", exfat=True))
    found += [Place("ASCII output", env={"PYTHONIOENCODING": "ascii"}), Place("closed pipe", closed=True)]
    return found


def see(place: Place, root: Path) -> dict[str, Cell]:
    """Run the verbs in `place`, below `root`; return the cells, with an `all files` that compares what is laid out."""
    if place.owner:  # the way to its folders has to be open to it
        with tempfile.TemporaryDirectory() as folder:
            os.chown(folder, place.owner, place.owner)
            return _see(place, Path(folder))
    return _see(place, root)


def _see(place: Place, root: Path) -> dict[str, Cell]:
    source = root / "odd"
    for name in NAMES:
        path = os.fsencode(source) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120  # names that are bytes
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(name)
    world = {"source": source, "published": root / "published", "out": root / "out", "channel": root / "home/channel"}
    with ExitStack() as stack:
        if place.exfat:
            world["out"].mkdir()
            stack.enter_context(exfat(root, world["out"]))
        cells = {name: _run(place, root, verb, world) for name, verb in VERBS.items() if not place.reading}
        if place.reading:
            cells = _see_reading(place, root, world)
        if not place.closed:
            cells["all files"] = _compare(source, world["out"] / "dir" / "odd", exact=not place.exfat)
    return cells


def _see_reading(place: Place, root: Path, world: dict[str, Path]) -> dict[str, Cell]:
    for verb in VERBS.values():
        _run(place, root, verb, world)
    with mounted(root, "--bind", str(root)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(root)], check=True, capture_output=True)
        return {name: _run(place, root, VERBS[name], world) for name in READING}


@contextmanager
def exfat(root: Path, target: Path) -> Iterator[None]:
    """Mount a new disk of that kind at `target`, by the kernel or, where that has none, by FUSE (`exfat-fuse`)."""
    image = root / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.exfat", str(image)], check=True, capture_output=True)
    if not shutil.which("mount.exfat-fuse"):
        with mounted(target, "-o", "loop", str(image)):
            yield
        return
    order = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(order, check=True, capture_output=True, text=True).stdout.strip()
    try:
        subprocess.run(["mount.exfat-fuse", device, str(target)], check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run(["umount", str(target)], check=True, capture_output=True)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True, capture_output=True)


def _run(place: Place, root: Path, verb: Sequence[str], world: dict[str, Path]) -> Cell:
    base = {"PATH": os.environ["PATH"], "PTMTORRENT_HOME": str(root / "home"), "PYTHONPATH": str(TOP)}
    order = [*place.prefix, sys.executable, "-m", "ptmtorrent", *(part.format(**world) for part in verb)]
    reader, writer = os.pipe()
    if place.closed:
        os.close(reader)
    done = subprocess.run(
        order,
        env={**base, **place.env},
        cwd=root,
        umask=place.umask,
        stdin=subprocess.DEVNULL,
        stdout=writer if place.closed else subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
        timeout=300,
    )
    os.close(writer)
    if not place.closed:
        os.close(reader)
    return Cell(done.returncode, _problem(place, done, root))


def _problem(place: Place, done: "subprocess.CompletedProcess[bytes]", root: Path) -> str:
    if b"Traceback" in done.stderr or b"unexpected" in done.stderr:
        return done.stderr.decode(errors="replace").strip().splitlines()[-2][:200]
    refused = place.exfat and b"is a name that the disk does not take" in done.stderr
    if done.returncode not in ({0, 1} if place.closed else {3} if refused else {0}):
        return done.stderr.decode(errors="replace").strip()[:200]
    private = [*(root / "home" / "keys").rglob("*"), root / "home" / "store"]
    private = [path for path in private if path.exists() and path.suffix != ".pub"]
    loose = [path.name for path in private if path.stat().st_mode & 0o077]
    if loose:
        return f"others may read {', '.join(loose)}"
    wanted = 0o666 & ~place.umask
    made = [path for path in (root / "out" / "dir").rglob("*") if path.is_file()] if not place.exfat else []
    wrong = [path.name for path in made if path.stat().st_mode & 0o777 != wanted]
    return f"modes of {', '.join(wrong)}" if wrong else ""


def _compare(source: Path, laid_out: Path, *, exact: bool) -> Cell:
    """Compare what is laid out with its source, of which a disk that is not `exact` has the names in UTF-8."""
    expected, found = _sum(source), _sum(laid_out)
    if not exact:
        expected = {name: text for name, text in expected.items() if name.decode(errors="ignore").encode() == name}
    if expected != found:
        return Cell(1, f"{len(found)} files are laid out, of {len(expected)}, or under other names")
    return Cell(0)


def _sum(folder: Path) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for place, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118  # names that are bytes
            with open(path, "rb") as file:  # noqa: PTH123
                found[os.path.relpath(path, os.fsencode(folder))] = hashlib.sha256(file.read()).hexdigest()
    return found
