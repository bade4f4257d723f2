"""The command line of `scripts/compare-parsers`."""

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench_store.beside import environment

from compare_parsers.writing import WRITERS
from ptmtorrent.model.containers.dtypes import NUMPY_NAMES
from ptmtorrent.model.containers.gguf import Gguf
from ptmtorrent.model.containers.hdf5 import read_hdf5
from ptmtorrent.model.containers.msgpack import read_msgpack
from ptmtorrent.model.containers.npy import read_npy
from ptmtorrent.model.containers.onnx_fields import DTYPES
from ptmtorrent.model.containers.onnx_fields import tensors as onnx_tensors
from ptmtorrent.model.containers.safetensors import Safetensors
from ptmtorrent.model.containers.source import MemorySource, Tensor
from ptmtorrent.model.containers.tensorflow import read_checkpoint
from ptmtorrent.model.containers.torch_legacy import read_torch_legacy
from ptmtorrent.model.containers.torch_zip import TorchZip
from ptmtorrent.model.containers.zip_directory import data_of

PACKAGES = ("safetensors", "torch==2.13.0", "h5py", "ml_dtypes", "flax", "onnx", "tensorflow-cpu", "gguf")
QUICK = ("HDF5", "npy", "GGUF")
DATA = "all.data-00000-of-00001"

Row = tuple[str, str | None, tuple[int, ...], str]
"""Name, dtype, shape and hash of a tensor; what a format does not say is empty."""


def main(about: str | None, arguments: list[str] | None = None) -> int:
    """Compare, print a line for each format, and return 1 if any tensor differs."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the files here")
    options = parser.parse_args(arguments)
    bin_, missing = environment("frameworks", PACKAGES)
    for package in missing:
        print(f"left out: what needs {package}, which cannot be installed")
    failed = False
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-parsers-")))
        for kind in QUICK if options.quick else WRITERS:
            failed |= not _compare(kind, folder / kind.replace(" ", "-"), bin_ / "python")
    return failed


def _compare(kind: str, folder: Path, python: Path) -> bool:
    """Compare all files of a format; return whether none differs."""
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [str(python), str(Path(__file__).with_name("writing.py")), kind, str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{kind:>14}: left out: {done.stderr.strip().splitlines()[-1:]}")
        return True
    files = tensors = 0
    wrong: list[str] = []
    for line in filter(lambda line: line.startswith("{"), done.stdout.splitlines()):
        told = json.loads(line)
        found = sorted(READERS[kind](Path(told["file"])))
        wanted = sorted(_wanted(kind, told["tensors"]))
        files, tensors = files + 1, tensors + len(wanted)
        wrong += [f"{told['file']}: {row}" for row in set(wanted) ^ set(found)]
    print(f"{kind:>14}: {files} files, {tensors} tensors, {len(wrong)} differ")
    for text in wrong[:20]:
        print(f"                {text}", file=sys.stderr)
    return not wrong


def _wanted(kind: str, tensors: dict[str, tuple[str, list[int], str]]) -> Iterator[Row]:
    for name, (dtype, shape, digest) in tensors.items():
        if not math.prod(shape) and kind in EMPTY_IS_NOTHING:
            continue
        shown = NUMPY_NAMES.get(dtype, dtype if kind == "GGUF" else None)
        named = "" if kind in NAMELESS else name
        yield named, shown, () if kind in SHAPELESS else tuple(shape), digest


NAMELESS = frozenset({"torch zip"})
"""Formats of which the parser reads storages: names and shapes belong to the tensors that are views of them."""

SHAPELESS = frozenset({"torch zip"})
EMPTY_IS_NOTHING = frozenset({"torch zip", "torch legacy", "HDF5", "TensorFlow", "ONNX"})
"""Formats that store nothing of a tensor without numbers."""


def _rows(data: bytes, tensors: Iterable[Tensor], kind: str) -> Iterator[Row]:
    for one in tensors:
        if not one.length and kind in EMPTY_IS_NOTHING:
            continue
        raw = data[one.offset : one.offset + one.length]
        shape = () if kind in SHAPELESS else one.shape
        yield "" if kind in NAMELESS else one.name, one.dtype, shape, hashlib.sha256(raw).hexdigest()


def _whole(kind: str, read: Callable[[MemorySource], Iterable[Tensor]]) -> Callable[[Path], Iterator[Row]]:
    def rows(path: Path) -> Iterator[Row]:
        data = path.read_bytes()
        return _rows(data, read(MemorySource(data)), kind)

    return rows


def _torch_zip(source: MemorySource) -> Iterator[Tensor]:
    archive = TorchZip(source)
    for member in archive.directory.members:
        tensor = archive.tensor(member, data_of(source, member))
        if tensor.dtype:
            yield tensor


def _onnx(path: Path) -> Iterator[Row]:
    data = path.read_bytes()
    for one in onnx_tensors(MemorySource(data), lambda _: True):
        raw = b"".join(data[part.offset : part.offset + part.length] for part in one.data)
        dtype = DTYPES.get(one.data_type)
        if math.prod(one.dims):
            yield one.name, dtype, tuple(one.dims), hashlib.sha256(raw).hexdigest()


def _tensorflow(path: Path) -> Iterator[Row]:
    tensors = [one for one in read_checkpoint(MemorySource(path.read_bytes()), 0) if one.name.endswith("VALUE")]
    return _rows(path.with_name(DATA).read_bytes(), tensors, "TensorFlow")


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "safetensors": _whole("safetensors", lambda source: Safetensors(source).tensors()),
    "torch zip": _whole("torch zip", _torch_zip),
    "torch legacy": _whole("torch legacy", read_torch_legacy),
    "HDF5": _whole("HDF5", read_hdf5),
    "npy": _whole("npy", lambda source: [read_npy(source, "")]),
    "msgpack": _whole("msgpack", read_msgpack),
    "ONNX": _onnx,
    "TensorFlow": _tensorflow,
    "GGUF": _whole("GGUF", lambda source: Gguf(source).tensors()),
}
