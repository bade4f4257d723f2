"""A small zoo on the simulators: its own LFS storage, and a mirror with the same paths."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.git.clones import Clones
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.onnx.adapter import OnnxZoo
from ptmtorrent.model.pointers import Pointer
from tests.simulators.assets import Assets, serve_assets
from tests.simulators.git_server import GitServer, serve_git

MNIST = "validated/vision/classification/mnist"
SKIPPED = "Computer_Vision/skip/tiny_Opset16_timm"
LARGE = "Natural_Language_Processing/small_Opset17_transformers"
REMOTE = "onnx/models"


def weights(seed: int) -> bytes:
    return random.Random(seed).randbytes(120_000 + seed)


def contents() -> dict[str, bytes]:
    """The real bytes of the LFS files, by path."""
    return {
        f"{MNIST}/model/mnist-12.onnx": weights(1),
        f"{MNIST}/model/mnist-12.tar.gz": weights(2),
        f"{SKIPPED}/tiny_Opset16.onnx": weights(3),
        f"{LARGE}/small_Opset17.onnx": weights(4),
    }


@dataclass
class Zoo:
    git: GitServer
    mirror: Assets
    work: Path
    commit: str = ""
    pointers: dict[str, Pointer] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return self.git.remote(REMOTE)

    def hub(self, *, mirrored: bool = True, session: Session | None = None) -> OnnxZoo:
        clones = Clones(Git({"PATH": "/usr/bin:/bin"}), self.work)
        mirror = f"{self.mirror.url}/resolve/main" if mirrored else None
        return OnnxZoo(self.endpoint, clones, mirror=mirror, session=session)

    def copy(self, path: str, data: bytes) -> None:
        """Add a file to the mirror."""
        self.mirror.data[f"/resolve/main/{path}"] = data

    def lose(self, path: str) -> None:
        """Remove the object from LFS storage."""
        self.git.faults.gone.add(self.pointers[path].sha256)


@contextmanager
def zoo(folder: Path, through: Callable[[str], str] = str) -> Iterator[Zoo]:
    """Serve the zoo under the addresses that `through` makes of those of the simulators."""
    served = folder / "served"
    served.mkdir()
    with serve_git(served) as git, serve_assets() as mirror:
        git.url, git.store, mirror.url = map(through, (git.url, git.store, mirror.url))
        made = Zoo(git, mirror, folder / "work")
        made.pointers = {path: git.keep_object(data) for path, data in contents().items()}
        entry = {"model": "MNIST", "model_path": f"{MNIST}/model/mnist-12.onnx", "metadata": {"tags": ["vision"]}}
        files: dict[str, bytes | Pointer] = {
            ".lfsconfig": b"[lfs]\n  fetchexclude = *\n",
            ".gitattributes": b"*.onnx filter=lfs diff=lfs merge=lfs -text\n*.tar.gz filter=lfs diff=lfs -text\n",
            "README.md": b"# zoo\n",
            "ONNX_HUB_MANIFEST.json": json.dumps([entry]).encode(),
            f"{MNIST}/README.md": b"# MNIST\n\n## License\nMIT\n",
            f"{SKIPPED}/turnkey_stats.yaml": b"author: timm\n",
            **made.pointers,
        }
        made.commit = git.commit(REMOTE, files)
        for path, data in contents().items():
            made.copy(path, data)
        yield made
