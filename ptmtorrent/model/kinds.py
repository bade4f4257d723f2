"""The kind of a file, from its name and size only.

`--only` selects by the five kinds, and they decide the class of pack that a file goes to.
"""

from functools import lru_cache
from typing import Literal

FileKind = Literal["weights", "docs", "config", "code", "metadata"]

FILE_KINDS: tuple[FileKind, ...] = ("weights", "docs", "config", "code", "metadata")

LARGE_BYTES = 4 << 20
"""A file with an unknown name above this size (4 MiB) counts as weights."""

_WEIGHTS = tuple(
    f".{extension}"
    for extension in (
        *(
            "safetensors",
            "bin",
            "pt",
            "pth",
            "ckpt",
            "onnx",
            "gguf",
            "ggml",
            "h5",
            "hdf5",
            "keras",
            "msgpack",
            "tflite",
        ),
        *("pb", "npz", "npy", "ot", "mlmodel", "pkl", "pickle", "joblib", "nemo", "params", "caffemodel", "weights"),
        *("tar", "gz", "zip", "data", "mlpackage", "engine"),
    )
)
_DOCS = (".md", ".rst", ".pdf", ".ipynb", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".bib", ".cff")
_DOC_STEMS = ("readme", "license", "licence", "notice", "copying", "model_card", "citation", "use_policy")
_CONFIG = (".json", ".yaml", ".yml", ".toml", ".txt", ".model", ".vocab", ".cfg", ".ini", ".jinja", ".tiktoken")

_CODE = (
    *(".py", ".pyi", ".sh", ".js", ".ts", ".java", ".lua", ".r", ".jl", ".m"),
    *(".c", ".cc", ".cpp", ".cu", ".h", ".hpp"),
)


def file_kind(path: str, size: int) -> FileKind:
    """Return the kind of the file at `path` with `size` bytes. Pure, so that all mirrors agree."""
    return _kind_by_name(path.rsplit("/", 1)[-1]) or ("weights" if size > LARGE_BYTES else "metadata")


@lru_cache(maxsize=1 << 12)  # most packages have files of the same names
def _kind_by_name(name: str) -> FileKind | None:
    name = name.lower()
    if name.endswith(_WEIGHTS):
        return "weights"
    if name.endswith(_DOCS) or name.startswith(_DOC_STEMS):
        return "docs"
    if name.endswith(_CODE):
        return "code"
    return "config" if name.endswith(_CONFIG) else None
