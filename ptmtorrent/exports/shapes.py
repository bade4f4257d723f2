"""Reduces a foreign value to what a schema of PTMTorrent allows. Pure.

A shape is `str`, `int` or `bool`; a frozenset of the allowed strings; a list with one shape; or a mapping from allowed
members to their shapes, where `*` stands for every member. A tuple has a shape and None, which is then kept. Values of
another type and members that are not in the shape are left out.
"""

from collections.abc import Mapping
from typing import Any

LEFT_OUT: Any = object()

Shape = type | frozenset[str] | list[Any] | tuple[Any, None] | Mapping[str, Any]

CATEGORY: Shape = {
    "id": int,
    "slug": frozenset(
        {
            "reinforcement-learning",
            "computer-vision",
            "natural-language-processing",
            "generative-models",
            "graph",
            "audio-speech",
            "unsupervised-learning",
            "self-supervised-learning",
            "health-bioscience",
        }
    ),
    "title": frozenset(
        {
            "Reinforcement Learning",
            "Computer Vision",
            "Natural Language Processing",
            "Generative Models",
            "Graph",
            "Audio and Speech",
            "Unsupervised Learning",
            "Self-Supervised Learning",
            "Health and Bioscience",
        }
    ),
    "short_title": frozenset(
        ["RL", "CV", "NLP", "Generative", "Graph", "Audio", "Unsupervised", "Self-Supervised", "Health"]
    ),
}

SHAPES: Mapping[str, Shape] = {
    "hf": {
        **dict.fromkeys(("modelId", "sha", "lastModified", "pipeline_tag", "_id", "id", "library_name"), str),
        "tags": [str],
        "siblings": [{"rfilename": str}],
        "private": bool,
        "config": {"architectures": [str], "model_type": str},
        "cardData": {"tags": [str], "language": str, "license": str, "datasets": [str]},
        "likes": int,
        "downloads": int,
    },
    "modelzoo": {
        **dict.fromkeys(("title", "long_desc"), str),
        **dict.fromkeys(("description", "link"), (str, None)),
        "stars": (int, None),
        "papers": ({"*": str}, None),
        "framework": frozenset(["pytorch", "caffe", "keras", "tensorflow", "jax", "chainer", "mxnet", "caffe2"]),
        "categories": [CATEGORY],
    },
    "modelhub": {
        **dict.fromkeys(("id", "name", "task_extended", "github"), str),
        "github_branch": frozenset({"master"}),
        "backend": [str],
        "gpu": bool,
    },
    "onnx": {
        "id": int,
        **dict.fromkeys(("Model", "ModelSize", "ModelPath", "ONNXVersion", "OpsetVersion", "GitHub URL"), str),
        **dict.fromkeys(("ModelSampleSize", "ModelSamplePath"), str),
        **dict.fromkeys(("Top-1% Accuracy", "Top-5% Accuracy", "Accuracy"), str),
        "mAP": frozenset({"N/A", "", "0.2303", "0.2285"}),
        "mIOU": frozenset({"N/A", "81.92", "81.62"}),
        "Mean IoU": frozenset({"N/A", "60.5%", "63.7%", "65.0%", "64.7%"}),
        "LFW * accuracy (%)": frozenset({"N/A", "99.77"}),
        "CFP-FF * accuracy (%)": frozenset({"N/A", "99.83"}),
        "CFP-FP * accuracy (%)": frozenset({"N/A", "94.21"}),
        "AgeDB-30 * accuracy (%)": frozenset({"N/A", "97.87"}),
        "Dataset": frozenset({"N/A", "Adience", "ChaLearn LAP 2015", "IMDB-WIKI"}),
        "Top-1 Error (%)": frozenset({"", "30.64", "33.65", "33.85", "33.88", "1.1%"}),
        "Category": frozenset(
            {
                *("image_classification", "domain_based_image", "object_detection", "body_analysis"),
                *("image_manipulation", "machine_comprehension"),
            }
        ),
    },
}
"""The shapes of the records that PTMTorrent kept in their hub's own format."""


def keep(value: object, shape: Shape) -> Any:  # noqa: ANN401  # the type follows from the shape
    """Return the part of `value` that `shape` allows, or `LEFT_OUT`."""
    if isinstance(shape, tuple):
        return None if value is None else keep(value, shape[0])
    if isinstance(shape, frozenset):
        return value if isinstance(value, str) and value in shape else LEFT_OUT
    if isinstance(shape, list):
        kept = [keep(item, shape[0]) for item in value] if isinstance(value, list) else LEFT_OUT
        return kept if kept is LEFT_OUT else [item for item in kept if item is not LEFT_OUT]
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return LEFT_OUT
        shapes: Mapping[str, Any] = dict.fromkeys(value, shape["*"]) if "*" in shape else shape
        members: dict[str, Any] = {key: keep(value[key], each) for key, each in shapes.items() if key in value}
        return {key: item for key, item in members.items() if item is not LEFT_OUT}
    return value if type(value) is shape else LEFT_OUT
