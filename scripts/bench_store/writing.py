"""Child in the environment of the frameworks: write one model in one container, with the writer of its own library.

usage: python writing.py CONTAINER SAFETENSORS FOLDER fp32|bf16 NOISE

It imports nothing of this project. NOISE is added to all numbers, as a share of the spread of their tensor.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tensors = dict[str, Any]
"""Tensors of torch by name."""


def read(source: Path, dtype: str, noise: float) -> Tensors:
    """Return the tensors of a file of safetensors, changed as a fine-tune does."""
    import torch
    from safetensors.torch import load_file

    random = torch.Generator().manual_seed(round(noise * 1e6))
    tensors: Tensors = {}
    for name, values in sorted(load_file(source).items()):
        made = values
        if values.is_floating_point():
            if noise and values.numel() > 1:
                made = values + torch.randn(values.shape, generator=random) * values.std() * noise
            made = made.to(torch.bfloat16 if dtype == "bf16" else torch.float32)
        tensors[name] = made.contiguous()
    return tensors


def safetensors(tensors: Tensors, folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def torch_zip(tensors: Tensors, folder: Path) -> None:
    import torch

    torch.save(tensors, folder / "pytorch_model.bin")


def torch_legacy(tensors: Tensors, folder: Path) -> None:
    import torch

    torch.save(tensors, folder / "legacy_model.bin", _use_new_zipfile_serialization=False)


def hdf5(tensors: Tensors, folder: Path) -> None:
    import h5py

    with h5py.File(folder / "tf_model.h5", "w") as file:
        for name, values in arrays(tensors).items():
            file.create_dataset(name.replace(".", "/"), data=values)


def msgpack(tensors: Tensors, folder: Path) -> None:
    from flax.serialization import msgpack_serialize

    (folder / "flax_model.msgpack").write_bytes(msgpack_serialize(tree(arrays(tensors))))


def npz(tensors: Tensors, folder: Path) -> None:
    import numpy as np

    np.savez(folder / "model.npz", **arrays(tensors))


def npy(tensors: Tensors, folder: Path) -> None:
    import numpy as np

    for name, values in arrays(tensors).items():
        np.save(folder / f"{name}.npy", values)


def onnx(tensors: Tensors, folder: Path) -> None:
    import onnx

    onnx.save(graph(tensors), folder / "model.onnx")


def onnx_external(tensors: Tensors, folder: Path) -> None:
    import onnx

    onnx.save(graph(tensors), folder / "external.onnx", save_as_external_data=True, location="external.onnx_data")


def tensorflow(tensors: Tensors, folder: Path) -> None:
    import tensorflow as tf

    names = {name.replace(".", "_"): tf.Variable(values) for name, values in arrays(tensors).items()}
    tf.train.Checkpoint(**names).write(str(folder / "model.ckpt"))


def arrays(tensors: Tensors) -> dict[str, Any]:
    """Return the tensors as arrays of numpy; bfloat16 as that of `ml_dtypes`."""
    import ml_dtypes
    import torch

    def one(values: Any) -> Any:  # noqa: ANN401  # of libraries that are not installed here
        if values.dtype == torch.bfloat16:
            return values.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return values.numpy()

    return {name: one(values) for name, values in tensors.items()}


def tree(flat: dict[str, Any]) -> dict[str, Any]:
    """Return nested dicts of names with dots."""
    root: dict[str, Any] = {}
    for name, values in flat.items():
        *above, last = name.split(".")
        at = root
        for part in above:
            at = at.setdefault(part, {})
        at[last] = values
    return root


def graph(tensors: Tensors) -> Any:  # noqa: ANN401  # of a library that is not installed here
    """Return a model of ONNX whose initializers are the tensors."""
    from onnx import TensorProto, helper, numpy_helper

    initializers = [numpy_helper.from_array(values, name) for name, values in arrays(tensors).items()]
    shown = helper.make_tensor_value_info(initializers[0].name, TensorProto.FLOAT, list(initializers[0].dims))
    return helper.make_model(helper.make_graph([], "weights", [], [shown], initializers))


WRITERS: dict[str, Callable[[Tensors, Path], None]] = {
    "safetensors": safetensors,
    "zip .bin": torch_zip,
    "legacy .bin": torch_legacy,
    "h5": hdf5,
    "msgpack": msgpack,
    "npz": npz,
    "npy": npy,
    "ONNX": onnx,
    "ONNX, external": onnx_external,
    "TF checkpoint": tensorflow,
}


def main() -> None:
    """Write what the command line asks for."""
    container, source, folder, dtype, noise = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    WRITERS[container](read(Path(source), dtype, float(noise)), Path(folder))


if __name__ == "__main__":
    main()
