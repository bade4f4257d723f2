"""Runs every path, and writes one table per world: large files per raw byte, small files per file."""

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from bench_clone.bench import served as hubs
from bench_clone.systems import SYSTEMS
from bench_store.page import put_part
from bench_store.running import Spent, run
from bench_store.tables import Table

from bench_touch.counting import Touched, count, hashes_of
from bench_touch.paths import (
    MIB,
    Counted,
    World,
    clone_arguments,
    copied,
    fetching,
    make_large,
    make_small,
    ours,
    release,
    run_ours,
    seeded,
    served,
    trusting,
    variables,
)

HASHES = ("blake3", "sha256", "sha1")
FIGURES = ("read", "written", "received", "sent", "copied")
PER_CALL = ("calls", "syncs", "futex", "failed_mkdirs")


def main(about: str) -> int:
    """Count everything; print the tables."""
    options = _options(about)
    shards, shard_bytes, count_of_small = (2, 16 * MIB, 100) if options.quick else (4, 128 * MIB, 1000)
    rows: list[dict[str, object]] = []
    tables = []
    with tempfile.TemporaryDirectory(prefix="bench-touch-") as name:
        for world in (
            make_large(Path(name, "large"), shards, shard_bytes),
            make_small(Path(name, "small"), count_of_small),
        ):
            release(world)
            with ExitStack() as stack:
                wanted = [each for each in _paths(world, stack) if _is_wanted(each, options.only)]
                measured = [_measure(each, Path(name, "run")) for each in wanted]
            rows += measured
            tables.append(_table(world, measured))
            print(tables[-1].as_text(), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    if options.markdown:
        put_part(options.markdown, "\n".join(table.as_markdown() for table in tables))
    return 0


def _options(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="36 MB and 600 small files instead of 540 MB and 6,000")
    parser.add_argument("--only", nargs="+", metavar="PATH", help="paths whose names begin so, such as `fetch`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the tables into this page")
    return parser.parse_args()


def _is_wanted(each: Counted, only: list[str] | None) -> bool:
    return not only or any(each.path.startswith(name) for name in only)


def _paths(world: World, stack: ExitStack) -> Iterator[Counted]:
    channel = world.home.channel
    yield Counted("clone folder", "ptmtorrent", world, lambda folder: ours(folder / "home", *clone_arguments(world)))
    if len(world.packages) == 1:
        yield from _hubs(world, stack)
    yield Counted(
        "release",
        "ptmtorrent",
        world,
        lambda folder: ours(folder / "home", "release", "2026.11"),
        copied(world, without="channel"),
    )
    yield Counted(
        "publish",
        "ptmtorrent",
        world,
        lambda folder: ours(folder / "home", "publish", "2026.11", "--to", folder / "to"),
        copied(world),
    )
    yield fetching(world, str(channel))
    url = stack.enter_context(served(world))
    yield fetching(world, url, "--transport", "http")
    if len(world.packages) == 1:
        peer = stack.enter_context(seeded(world))
        torrent = fetching(world, str(channel), "--transport", "torrent", "--peer", peer)
        yield Counted("fetch torrent", torrent.system, world, torrent.command, torrent.prepare)
    yield Counted("verify", "ptmtorrent", world, lambda folder: ours(folder / "home", "verify"), _fetched(world))
    yield from _peers(world, url)


def _fetched(world: World) -> "object":
    trust = trusting(world, str(world.home.channel))

    def prepare(folder: Path) -> None:
        trust(folder)
        order = ("fetch", "--channel", world.home.channel, "--subset", "all", "--to", folder / "out")
        run_ours(folder / "home", *order)

    return prepare


def _hubs(world: World, stack: ExitStack) -> Iterator[Counted]:
    if shutil.which("git-lfs") is None:
        return
    (world.raw.parent / "hub").mkdir()
    at = stack.enter_context(hubs(world.raw.parent / "hub", world.packages[0]))
    names = {"ours, from the hub": "clone hub", "hf download": "clone hub", "git clone, git lfs pull": "clone git"}
    for system in SYSTEMS:
        if (path := names.get(system.name)) is None:
            continue
        is_ours = system.name.startswith("ours")
        name = "ptmtorrent" if is_ours else system.name

        def command(folder: Path, commands=system.commands) -> list[str]:  # noqa: ANN001  # bound now
            return _in_turn(commands(at, folder))

        yield Counted(path, name, world, command, is_ours=is_ours)


def _in_turn(commands: list[list[str]]) -> list[str]:
    """Return one command that runs several."""
    if len(commands) == 1:
        return commands[0]
    script = " && ".join(" ".join(f"'{word}'" for word in command) for command in commands)
    return ["sh", "-c", script]


def _peers(world: World, url: str) -> Iterator[Counted]:
    raw = str(world.raw)
    yield Counted(
        "copy", "cp", world, lambda folder: ["cp", "-r", "--reflink=never", raw, str(folder / "out")], is_ours=False
    )
    packs = [path.relative_to(world.home.channel).as_posix() for path in world.home.channel.rglob("*.pack")]
    urls = [f"{url}/{pack}" for pack in packs]
    if shutil.which("curl"):
        names = [word for number, each in enumerate(urls) for word in ("-o", f"pack-{number}", each)]
        yield Counted("packs HTTP", "curl", world, lambda _: ["curl", "-sS", "--fail", *names], is_ours=False)
    if shutil.which("aria2c"):
        yield Counted("packs HTTP", "aria2", world, lambda _: ["aria2c", "-q", "-Z", *urls], is_ours=False)


def _measure(each: Counted, folder: Path) -> dict[str, object]:
    """Run one row three times: for its calls, for its cost, and for its hashes."""
    touched, spent, hashed = Touched(), Spent(0, 0, 0), Counter[str]()
    for run_of in ("calls", "cost", "hashes"):
        folder.mkdir()
        each.prepare(folder)
        command, env = each.command(folder), variables(folder)
        if run_of == "calls":
            touched = count(command, cwd=folder, env=env, logs=folder / "logs")
        elif run_of == "cost":
            spent = run(command, cwd=folder, env=env, log=folder / "log.txt")
        elif each.is_ours:
            hashed = hashes_of(_arguments(command), cwd=folder, env=env, report=folder / "hashes.json")
        shutil.rmtree(folder)
    size, files = each.world.size, len(each.world.files)
    row: dict[str, object] = {"world": each.world.name, "path": each.path, "system": each.system}
    row |= {f"{name} per raw byte": getattr(touched, name) / size for name in FIGURES}
    row |= {f"{name} per raw byte": hashed[name] / size if each.is_ours else None for name in HASHES}
    row |= {name: getattr(touched, name) for name in PER_CALL}
    row |= {"calls per file": touched.calls / files, "syncs per file": touched.syncs / files}
    return row | {"cpu": spent.cpu, "wall": spent.wall, "peak": spent.peak}


def _arguments(command: list[str]) -> list[str]:
    """Return the arguments of a command that runs ptmtorrent."""
    return command[3:] if command[1:3] == ["-m", "ptmtorrent"] else command[1:]


def _table(world: World, rows: list[dict[str, object]]) -> Table:
    ratios = [f"{name} per raw byte" for name in (*FIGURES, *HASHES)]
    lines = []
    for row in rows:
        cells = ["" if row[name] is None else f"{row[name]:.2f}" for name in ratios]
        calls = [f"{row[name]:,}" for name in PER_CALL]
        each = [f"{row['calls per file']:.1f}", f"{row['syncs per file']:.3f}"]
        lines.append(
            [f"{row['path']}, {row['system']}", *cells, *calls, *each, f"{row['cpu']:.2f}", f"{row['wall']:.2f}"]
        )
    head = [
        "",
        *FIGURES,
        *HASHES,
        "calls",
        "syncs",
        "futex",
        "failed mkdir",
        "calls/file",
        "syncs/file",
        "CPU s",
        "wall s",
    ]
    size = f"{world.size / 1e6:,.1f} MB in {len(world.files):,} files"
    return Table(f"Touched per raw byte: {world.name}, {size}", head, lines)
