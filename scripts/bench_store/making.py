"""Makes the files of the sets in the folder given, in a separate process, which keeps the memory of the parent small.

usage: python -m bench_store.making SCALE FOLDER [siblings] [formats] [revision] [big]
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench_store.formats import write_safetensors, write_torch_zip
from bench_store.scales import SCALES, Scale
from bench_store.tensors import Array, Named, Shapes, Weights, from_bf16, normal, to_bf16, to_int8

CHANGED = "layers.05.up.weight"
"""The tensor that the second revision changes."""

BIG_ROWS, BIG_COLUMNS = 8192, 1024


def main() -> None:
    scale, folder, groups = SCALES[sys.argv[1]], Path(sys.argv[2]), set(sys.argv[3:])
    folder.mkdir(parents=True, exist_ok=True)
    if groups & {"siblings", "formats", "revision"}:
        weights = Weights(scale)
        _write_bf16(folder / "base.safetensors", weights.base)
        if "siblings" in groups:
            make_siblings(weights, folder)
        if "formats" in groups:
            make_formats(weights, folder)
        if "revision" in groups:
            second = weights.base | {CHANGED: weights.redrawn(CHANGED)}
            _write_bf16(folder / "revision-2.safetensors", second)
    if "big" in groups:
        make_big(scale, folder)


def make_siblings(weights: Weights, folder: Path) -> None:
    """Write the relatives of the base: a light fine-tune, one of the last layers, and three shards in another order."""
    _stream_bf16(folder / "ft_light.safetensors", weights, weights.fine_tuned(0.002))
    _stream_bf16(folder / "last2.safetensors", weights, weights.last_layers_tuned())
    names = sorted(weights.base, reverse=True)
    third = len(names) // 3
    for number, part in enumerate((names[:third], names[third : 2 * third], names[2 * third :]), 1):
        _write_bf16(folder / f"reshard-{number}-of-3.safetensors", {name: weights.base[name] for name in part})


def make_formats(weights: Weights, folder: Path) -> None:
    """Write parts of the base in other formats, and a heavy fine-tune of it."""
    names = list(weights.base)
    half = {name: weights.base[name] for name in names[:40]}
    write_safetensors(folder / "fp32.safetensors", "F32", _shapes(half), half.items())
    write_torch_zip(folder / "fp32.bin", half)
    halved = ((name, values.astype(np.float16)) for name, values in half.items())
    write_safetensors(folder / "fp16.safetensors", "F16", _shapes(half), halved)
    some = {name: weights.base[name] for name in names[1:31]}
    upcast = ((name, from_bf16(to_bf16(values))) for name, values in some.items())
    write_safetensors(folder / "upcast.safetensors", "F32", _shapes(some), upcast)
    matrices = {name: weights.base[name] for name in names[:25] if weights.base[name].ndim > 1}
    quantised = ((name, to_int8(values)) for name, values in matrices.items())
    write_safetensors(folder / "int8.safetensors", "I8", _shapes(matrices), quantised)
    _stream_bf16(folder / "ft_heavy.safetensors", weights, weights.fine_tuned(0.02))


def make_big(scale: Scale, folder: Path) -> None:
    """Write one bf16 file, `scale.big` bytes of tensors."""
    each = BIG_ROWS * BIG_COLUMNS * 2
    whole = {f"blocks.{number:03d}.weight": (BIG_ROWS, BIG_COLUMNS) for number in range(scale.big // each)}
    shapes: Shapes = whole or {"blocks.000.weight": (scale.big // 2 // BIG_COLUMNS, BIG_COLUMNS)}
    random = np.random.Generator(np.random.PCG64(1))
    drawn = ((name, to_bf16(normal(random, shape) * np.float32(0.02))) for name, shape in shapes.items())
    write_safetensors(folder / "big.safetensors", "BF16", shapes, drawn)


def _stream_bf16(path: Path, weights: Weights, tensors: Iterator[tuple[str, Array]]) -> None:
    rounded = ((name, to_bf16(values)) for name, values in tensors)
    write_safetensors(path, "BF16", _shapes(weights.base), rounded)


def _write_bf16(path: Path, tensors: Named) -> None:
    rounded = ((name, to_bf16(values)) for name, values in tensors.items())
    write_safetensors(path, "BF16", _shapes(tensors), rounded)


def _shapes(tensors: Named) -> Shapes:
    return {name: values.shape for name, values in tensors.items()}


if __name__ == "__main__":
    main()
