"""A home with captured packages, made straight in its store, without a hub."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ptmtorrent.model.findings import new_scan
from ptmtorrent.model.ids import ObjectId, object_id
from ptmtorrent.model.manifest import FileEntry, Identity, Manifest, RawAnswer, encode_manifest, new_manifest
from ptmtorrent.model.records import Event
from ptmtorrent.paths import Home
from ptmtorrent.store.pack.format import PackClass
from ptmtorrent.store.store import Expected, Store, StoredFile
from ptmtorrent.trust.keys import Keys, init_keys, load_keys
from tests.model.generated import new_capture

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


class TickingClock:
    """A clock that moves on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


class Listener:
    """Keeps what a workflow says."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def new_home(root: Path) -> tuple[Home, Keys]:
    home = Home(root)
    init_keys(home.keys, None)
    return home, load_keys(home.keys, lambda: None)


def capture(  # the facts of a package
    store: Store,
    scratch: Path,
    package: str,
    files: Mapping[str, bytes],
    *,
    bases: Sequence[StoredFile] = (),
    **facts: object,
) -> Manifest:
    """Capture one package as a clone does: files, then the hub's answer, the manifest, and the capture."""
    rights = facts.get("rights", "open")
    meta, weights = PackClass("meta", rights), PackClass("weights-hot", rights)  # type: ignore[arg-type]  # of the test
    objects: dict[ObjectId, int] = {}
    entries: list[FileEntry] = []
    for path, data in files.items():
        spooled = scratch / "spooled"
        spooled.write_bytes(data)
        pack_class = weights if path.endswith(".safetensors") else meta
        stored = store.add_file(spooled, path, Expected(size=len(data), oid=None), pack_class, bases=bases)
        for identifier, size in stored.objects:
            objects.setdefault(identifier, size)
        rows = [list(objects).index(identifier) for identifier, _ in stored.objects]
        entries.append(
            FileEntry(
                path=path,
                mode=0o100644,
                size=stored.size,
                source="git",
                blake3=stored.blake3,
                sha256=stored.sha256,
                cutter=stored.cutter,
                recipe=tuple((row, 1) for row in rows),
            )
        )
    answer = f'{{"id":"{package}"}}'.encode()
    objects.setdefault(store.put(answer, kind="answer", pack_class=meta), len(answer))
    raw = (RawAnswer(name="model_info", recipe=((list(objects).index(object_id(answer)), 1),)),)
    hub, name = package.split(":", 1)
    manifest = new_manifest(Identity(hub=hub, name=name, commit="c" * 40), tuple(entries), tuple(objects.items()), raw)
    data, snapshot = encode_manifest(manifest)
    store.put(data, kind="manifest", pack_class=meta)
    store.add_capture(new_capture(package, snapshot, **{"licence": "mit", "scan": new_scan((), ()), **facts}))
    return manifest


@contextmanager
def writing(home: Home) -> Iterator[Store]:
    with Store.open(home.store, write=True) as store:
        yield store


def capture_three(home: Home, scratch: Path) -> dict[str, Manifest]:
    """Two Hugging Face packages that share a file, one of them popular, and one of a hub without counts."""
    shared = b'{"model_type":"bert"}'
    with writing(home) as store:
        return {
            name: capture(store, scratch, name, files, **facts)
            for name, files, facts in (
                ("hf:a/popular", {"config.json": shared, "model.safetensors": b"w" * 5000}, {"downloads": 100}),
                ("hf:b/quiet", {"config.json": shared, "README.md": b"# quiet", "empty": b""}, {"downloads": 3}),
                ("onnx:vision/x", {"x.safetensors": bytes(range(256)) * 40}, {}),
            )
        }


def policy_file(text: str, folder: Path) -> Path:
    path = folder / "policy.toml"
    path.write_text(text)
    return path
