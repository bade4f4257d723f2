"""Child in the environment of the frameworks: write files of every dtype and version, and tell what their readers read.

usage: python writing.py FORMAT FOLDER

It imports nothing of this project. For each file it prints a line of JSON: file, and for each tensor name, dtype as the
library calls it, shape, and SHA-256 of the numbers as they lie in the file's order of bytes.
"""

import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Seen = dict[str, tuple[str, list[int], str]]
"""By name: dtype, shape, hash."""

SHAPES = [(), (7,), (3, 5), (2, 1, 4), (0, 3)]
INTEGERS = ["bool", "int8", "uint8", "int16", "int32", "int64"]
UNSIGNED = ["uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64", "complex64"]
NUMPY = [*INTEGERS, *UNSIGNED, *FLOATS]
TORCH_LEGACY = [*INTEGERS, *FLOATS, "bfloat16"]
"""The dtypes that had a storage of their own when the legacy format was in use; torch cannot write others in it."""

TORCH = [*TORCH_LEGACY, *UNSIGNED, "float8_e4m3fn", "float8_e5m2"]
TENSORFLOW = [*NUMPY, "bfloat16"]

NEVER_STORED = {"Q1_0", "Q8_1"}
"""Q8_1 is an intermediate of ggml, of 36 bytes there and of 40 in gguf; Q1_0 is newer than the parser."""


def arrays(dtypes: list[str], shapes: list[tuple[int, ...]] = SHAPES) -> dict[str, Any]:
    """Return an array of each dtype and shape."""
    import ml_dtypes
    import numpy as np

    made = {}
    for dtype, (number, shape) in itertools.product(dtypes, enumerate(shapes)):
        kind = getattr(ml_dtypes, dtype, None) or np.dtype(dtype)
        made[f"{dtype}_{number}"] = (np.arange(np.prod(shape, dtype=int)) % 5).reshape(shape).astype(kind)
    return made


def seen(read: dict[str, Any]) -> Seen:
    """Describe what a reader returned, as arrays of numpy."""
    return {
        name: (one.dtype.name, list(one.shape), hashlib.sha256(one.tobytes()).hexdigest()) for name, one in read.items()
    }


def torches(dtypes: list[str] = TORCH) -> dict[str, Any]:
    """Return a tensor of torch of each dtype and shape."""
    import torch

    made = {}
    for dtype, (number, shape) in itertools.product(dtypes, enumerate(SHAPES)):
        values = (torch.arange(torch.Size(shape).numel()) % 5).reshape(shape)
        made[f"{dtype}_{number}"] = values.to(torch.float32).to(getattr(torch, dtype))
    return made


def seen_torch(read: dict[str, Any]) -> Seen:
    import torch

    found = {}
    for name, one in read.items():
        raw = one.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        found[name] = (str(one.dtype).removeprefix("torch."), list(one.shape), hashlib.sha256(raw).hexdigest())
    return found


def safetensors(folder: Path) -> Iterator[tuple[Path, Seen]]:
    from safetensors.torch import load_file, save_file

    path = folder / "all.safetensors"
    save_file(torches(), path)
    yield path, seen_torch(load_file(path))


def torch_zip(folder: Path) -> Iterator[tuple[Path, Seen]]:
    import torch

    for protocol in (2, 3, 4, 5):
        path = folder / f"{protocol}.torch-zip"
        torch.save(torches(), path, pickle_protocol=protocol)
        yield path, seen_torch(torch.load(path, weights_only=False))


def torch_legacy(folder: Path) -> Iterator[tuple[Path, Seen]]:
    import torch

    for protocol in (2, 3, 4, 5):
        path = folder / f"{protocol}.torch-legacy"
        torch.save(torches(TORCH_LEGACY), path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
        yield path, seen_torch(torch.load(path, weights_only=False))


def hdf5(folder: Path) -> Iterator[tuple[Path, Seen]]:
    import h5py

    for libver, order in itertools.product(("earliest", "v108", "v110", "v112", "v114", "latest"), "<>"):
        path = folder / f"{libver}-{'be' if order == '>' else 'le'}.hdf5"
        made = arrays([dtype for dtype in NUMPY if dtype != "complex64"])
        with h5py.File(path, "w", libver=libver) as file:
            for name, one in made.items():
                file.create_dataset(f"group/{name}", data=one.astype(one.dtype.newbyteorder(order)))
        with h5py.File(path) as file:
            read = {f"group/{name}": file[f"group/{name}"][()] for name in made}
        yield path, seen(read)


def npy(folder: Path) -> Iterator[tuple[Path, Seen]]:
    import numpy as np

    for name, one in arrays(NUMPY).items():
        for version, order in itertools.product((1, 2, 3), "<>"):
            path = folder / f"{name}-{version}-{'be' if order == '>' else 'le'}.npy"
            with path.open("wb") as out:
                np.lib.format.write_array(out, one.astype(one.dtype.newbyteorder(order)), version=(version, 0))
            yield path, seen({"": np.load(path)})


def msgpack(folder: Path) -> Iterator[tuple[Path, Seen]]:
    from flax.serialization import msgpack_restore, msgpack_serialize

    path = folder / "all.msgpack"
    path.write_bytes(msgpack_serialize({"params": arrays([*NUMPY, "bfloat16"]), "step": 3}))
    read = msgpack_restore(path.read_bytes())["params"]
    yield path, seen({f"params/{name}": one for name, one in read.items()})


def onnx(folder: Path) -> Iterator[tuple[Path, Seen]]:
    import onnx
    from onnx import helper, numpy_helper

    for version in range(3, onnx.IR_VERSION + 1):
        path = folder / f"{version}.onnx"
        tensors = [numpy_helper.from_array(one, name) for name, one in arrays([*NUMPY, "bfloat16"]).items()]
        model = helper.make_model(helper.make_graph([], "all", [], [], tensors), ir_version=version)
        onnx.save(model, path)
        read = {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
        yield path, seen(read)


def tensorflow(folder: Path) -> Iterator[tuple[Path, Seen]]:
    import tensorflow as tf

    made = {name: tf.Variable(one) for name, one in arrays(TENSORFLOW).items()}
    prefix = folder / "all"
    tf.train.Checkpoint(**made).write(str(prefix))
    reader = tf.train.load_checkpoint(str(prefix))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    yield folder / "all.index", seen({name: reader.get_tensor(name) for name in names})


def gguf(folder: Path) -> Iterator[tuple[Path, Seen]]:
    import gguf
    import numpy as np

    kinds = [kind for kind in gguf.GGMLQuantizationType if kind.name not in NEVER_STORED]
    for order in (gguf.GGUFEndian.LITTLE, gguf.GGUFEndian.BIG):
        path = folder / f"{order.name}.gguf"
        writer = gguf.GGUFWriter(path, "all", endianess=order)
        for kind in kinds:
            _, size = gguf.GGML_QUANT_SIZES[kind]
            raw = (np.arange(3 * 2 * size) % 251).astype(np.uint8).reshape(3, 2 * size)
            writer.add_tensor(kind.name, raw, raw_shape=(3, 2 * size), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        found: Seen = {}
        for one in gguf.GGUFReader(path).tensors:
            shape = [int(number) for number in reversed(one.shape)]
            found[one.name] = (one.tensor_type.name, shape, hashlib.sha256(one.data.tobytes()).hexdigest())
        yield path, found


WRITERS: dict[str, Callable[[Path], Iterator[tuple[Path, Seen]]]] = {
    "safetensors": safetensors,
    "torch zip": torch_zip,
    "torch legacy": torch_legacy,
    "HDF5": hdf5,
    "npy": npy,
    "msgpack": msgpack,
    "ONNX": onnx,
    "TensorFlow": tensorflow,
    "GGUF": gguf,
}


def main() -> None:
    """Write what the command line asks for."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for path, found in WRITERS[kind](folder):
        print(json.dumps({"file": str(path), "tensors": found}))


if __name__ == "__main__":
    main()
