"""The paths that bytes take: what is prepared for each, and the command that is counted."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_clone.bench import make_package
from bench_clone.systems import environment

from ptmtorrent.paths import Home
from ptmtorrent.trust.fingerprints import fingerprint, read_first_root
from ptmtorrent.trust.pins import Pins
from tests.static import serve_folder

MIB = 1 << 20
SMALL_FILES = ("config.json", "README.md", "tokenizer.json", "vocab.txt", "special_tokens_map.json", "sub/args.json")
_TOP = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class World:
    """Raw files in `raw`, and a maintainer's home that has captured and released them. Each package is a folder."""

    name: str
    raw: Path
    packages: tuple[Path, ...]
    home: Home

    @property
    def size(self) -> int:
        """The raw bytes."""
        return sum(path.stat().st_size for path in self.files)

    @property
    def files(self) -> list[Path]:
        """The raw files."""
        return [path for path in self.raw.rglob("*") if path.is_file()]


@dataclass(frozen=True)
class Counted:
    """One row: who takes the bytes along which path, and how. `arguments` are those of ptmtorrent, None for a peer."""

    path: str
    system: str
    world: World
    command: Callable[[Path], list[str]]
    prepare: Callable[[Path], None] = lambda _: None
    is_ours: bool = True


def make_large(folder: Path, shards: int, shard_bytes: int) -> World:
    """Generate one package of bf16 weights."""
    package = folder / "raw" / "large"
    package.mkdir(parents=True)
    make_package(package, shards, shard_bytes)
    return World("large", folder / "raw", (package,), Home(folder / "maintainer"))


def make_small(folder: Path, count: int) -> World:
    """Generate packages of six small files."""
    source = np.random.default_rng(17)
    words = np.array(["layer", "hidden", "size", "token", "model", "type", '"', "{", "}", ":", ",", "\n"])
    packages = []
    for number in range(count):
        package = folder / "raw" / f"small-{number:05}"
        for name in SMALL_FILES:
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            head = "---\nlicense: mit\n---\n" if name == "README.md" else ""
            path.write_text(f"{head}{number} {name} " + " ".join(source.choice(words, int(source.integers(100, 1500)))))
        packages.append(package)
    return World("small", folder / "raw", tuple(packages), Home(folder / "maintainer"))


def ours(home: Path, *arguments: object) -> list[str]:
    """Return the command that runs ptmtorrent in a home."""
    return [sys.executable, "-m", "ptmtorrent", "--home", str(home), "--format", "quiet", *map(str, arguments)]


def run_ours(home: Path, *arguments: object) -> None:
    """Run ptmtorrent, uncounted.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    subprocess.run(ours(home, *arguments), check=True, stdout=subprocess.DEVNULL, env=variables(home.parent), cwd=_TOP)


def variables(folder: Path) -> dict[str, str]:
    """Return the environment of counted programs: nothing of the user's."""
    return environment(folder) | {"PYTHONPATH": str(_TOP), "PYTHONDONTWRITEBYTECODE": "1"}


def release(world: World) -> None:
    """Capture and release the packages of a world, for the paths that begin there."""
    run_ours(world.home.root, "keys", "init", "--no-passphrase")
    run_ours(world.home.root, *clone_arguments(world))
    run_ours(world.home.root, "release", "2026.11")


def clone_arguments(world: World) -> list[str]:
    """Return the arguments that capture every package of a world from its folder."""
    place = world.packages[0] if len(world.packages) == 1 else world.raw
    return ["clone", "dir", "--endpoint", str(place)]


def trusting(world: World, location: str) -> Callable[[Path], None]:
    """Return what makes a reader's home in a folder trust the channel of a world at `location`."""

    def prepare(folder: Path) -> None:
        root = read_first_root(world.home.channel)
        Pins(Home(folder / "home").trust).add(location, fingerprint(root), root)

    return prepare


def copied(world: World, *, without: str = "") -> Callable[[Path], None]:
    """Return what copies the maintainer's home into a folder, less one part of it."""

    def prepare(folder: Path) -> None:
        shutil.copytree(world.home.root, folder / "home")
        if without:
            shutil.rmtree(folder / "home" / without)

    return prepare


def fetching(world: World, location: str, *options: str) -> Counted:
    """Return a fetch of everything from a channel at `location`."""
    way = "HTTP" if location.startswith("http") else "local"
    order = ("fetch", "--channel", location, "--subset", "all", *options)
    return Counted(
        f"fetch {way}",
        "ptmtorrent",
        world,
        lambda folder: ours(folder / "home", *order, "--to", folder / "out"),
        trusting(world, location),
    )


@contextmanager
def served(world: World) -> Iterator[str]:
    """Serve the channel of a world; yield its URL."""
    with serve_folder(world.home.channel) as url:
        yield url


@contextmanager
def seeded(world: World) -> Iterator[str]:
    """Seed the packs of a world; yield `HOST:PORT`."""
    command = ours(world.home.root, "seed", "--listen", "127.0.0.1:0")
    command[command.index("quiet")] = "json"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables(world.raw), cwd=_TOP)
    try:
        yield _address(process)
    finally:
        process.terminate()
        process.communicate()


def _address(process: "subprocess.Popen[str]") -> str:
    for line in process.stdout or ():
        record = json.loads(line)
        if "address" in record:
            return str(record["address"])
    raise RuntimeError("the seeder did not print its address")
