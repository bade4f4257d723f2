"""The sizes of the sets. Published values are of `full`; the others have the same files and rows, with other values."""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Scale:
    """`hidden` and `vocabulary` give the shapes of tensors; `big` the bytes of the file that measures memory."""

    name: str
    hidden: int
    vocabulary: int
    big: int


SCALES = {
    scale.name: scale
    for scale in (
        Scale("full", hidden=1024, vocabulary=26000, big=2048 * MIB),
        Scale("quick", hidden=128, vocabulary=26000, big=64 * MIB),
        Scale("tiny", hidden=32, vocabulary=1000, big=2 * MIB),
    )
}
