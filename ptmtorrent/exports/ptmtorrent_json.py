"""The JSON of the PTMTorrent data set of 2023: per package, one uniform record and one in its hub's own format.

Pure. The schemas allow almost no nulls and no additional members. Values that the hub did not give are left out, or are
an empty string where the uniform schema requires the member (a Hugging Face package without a namespace has no owner).
Source: PTMTorrent, `ptm_torrent/utils/schemas`.
"""

from collections.abc import Mapping
from typing import Any

from ptmtorrent.exports.shapes import LEFT_OUT, SHAPES, keep
from ptmtorrent.model.uniform_record import Text, UniformRecord

HUBS: Mapping[str, tuple[str, str]] = {
    "hf": ("Hugging Face", "https://huggingface.co"),
    "onnx": ("ONNX Model Zoo", "https://github.com/onnx/models"),
    "pytorch": ("PyTorch Hub", "https://pytorch.org/hub"),
    "modelzoo": ("ModelZoo", "https://modelzoo.co"),
    "modelhub": ("Modelhub", "https://modelhub.ai"),
    "kaggle": ("Kaggle", "https://www.kaggle.com/models"),
    "tfhub": ("TensorFlow Hub", "https://tfhub.dev"),
}

METADATA = "metadata/{}.json"
"""The file of an export with the list of one hub's records; `MetadataObjectID` is an index into it, from 0."""

_CATEGORIES = {
    "classification": "image_classification",
    "object_detection_segmentation": "object_detection",
    "body_analysis": "body_analysis",
    "super_resolution": "image_manipulation",
    "style_transfer": "image_manipulation",
    "machine_comprehension": "machine_comprehension",
}


def uniform_json(record: UniformRecord, number: int, row: int) -> dict[str, Any]:
    """Return the uniform record with index `number` in the export and `row` in the list of its hub."""
    prefix = record.package.partition(":")[0]
    name, url = HUBS.get(prefix, (prefix, ""))
    made: dict[str, Any] = {
        "id": number,
        "ModelHub": {
            "ModelHubName": name,
            "ModelHubURL": url,
            "MetadataFilePath": METADATA.format(prefix),
            "MetadataObjectID": row,
        },
        "ModelName": record.name.value,
        "ModelOwner": _text(record.owner),
        "ModelURL": _text(record.url),
        "ModelOwnerURL": _text(record.owner_url),
        "LatestGitCommitSHA": _text(record.revision),
    }
    if record.datasets is not None:
        made["Datasets"] = [_dataset(each, prefix) for each in record.datasets.value]
    if record.papers is not None:
        made["ModelPaperDOIs"] = list(dict.fromkeys(record.papers.value))
    for field, value in (("ModelTask", record.task), ("ModelArchitecture", record.architecture)):
        if value is not None:
            made[field] = value.value
    return made


def hub_json(record: UniformRecord, answer: Mapping[str, Any], first: int) -> list[dict[str, Any]]:
    """Return the records of a package in its hub's own format; the first has index `first` in the list of the hub.

    A package has one record, except for ONNX: there each model that the zoo's manifest lists in the package has one.
    `answer` is the hub's raw answer; a card has its front matter as the member `front`.
    """
    prefix = record.package.partition(":")[0]
    if prefix == "onnx":
        return _onnx(record, answer, first)
    if prefix == "pytorch":
        return [_pytorch(record, answer, first)]
    shape = SHAPES.get(prefix)
    if shape is None:
        return [dict(answer)]
    kept = keep(dict(answer), shape)
    if prefix == "modelzoo":
        kept["id"] = first
    for key in ("link", "github"):
        if key in kept and not _is_web(kept[key]):
            del kept[key]
    return [kept]


def _pytorch(record: UniformRecord, answer: Mapping[str, Any], number: int) -> dict[str, Any]:
    front = answer.get("front")
    demo = front.get("demo-model-link") if isinstance(front, dict) else None
    made = {
        "id": number,
        "ModelName": record.name.value,
        "ModelAuthor": _text(record.owner),
        "ModelDescription": _text(record.description),
        "ModelURL": f"{HUBS['pytorch'][1]}/{record.package.partition(':')[2]}/",
        "GitHubURL": record.url.value if record.url and _is_web(record.url.value) else LEFT_OUT,
        "DemoURL": demo if _is_web(demo) else LEFT_OUT,
    }
    return {key: value for key, value in made.items() if value is not LEFT_OUT and value != ""}


def _onnx(record: UniformRecord, answer: Mapping[str, Any], first: int) -> list[dict[str, Any]]:
    name = record.package.partition(":")[2]
    entries = answer.get("manifest")
    rows = [row for row in entries if isinstance(row, dict)] if isinstance(entries, list) else []
    rows = rows or [{"model": name.rpartition("/")[2], "model_path": name}]
    category = next((_CATEGORIES[step] for step in name.split("/") if step in _CATEGORIES), LEFT_OUT)
    return [_onnx_model(record, row, category, first + at) for at, row in enumerate(rows)]


def _onnx_model(record: UniformRecord, row: Mapping[str, Any], category: Any, number: int) -> dict[str, Any]:  # noqa: ANN401  # a text or LEFT_OUT
    about = row.get("metadata")
    size = about.get("model_bytes") if isinstance(about, dict) else None
    made = {
        "id": number,
        "Model": _spell(row.get("model")),
        "ModelPath": _spell(row.get("model_path")),
        "ONNXVersion": _spell(row.get("onnx_version")),
        "OpsetVersion": _spell(row.get("opset_version")),
        "ModelSize": _spell(size),
        "Category": category,
        "GitHub URL": record.url.value if record.url and _is_web(record.url.value) else LEFT_OUT,
    }
    return {key: value for key, value in made.items() if value is not LEFT_OUT}


def _dataset(name: str, prefix: str) -> dict[str, Any]:
    """Return the record of a data set that a tag names; on Hugging Face it is a data set of Hugging Face."""
    if prefix != "hf":
        return {"DatasetName": name, "DatasetOwner": "", "DatasetURL": "", "DatasetOwnerURL": ""}
    owner = name.partition("/")[0] if "/" in name else ""
    base = HUBS["hf"][1]
    return {
        "DatasetName": name,
        "DatasetOwner": owner,
        "DatasetURL": f"{base}/datasets/{name}",
        "DatasetOwnerURL": f"{base}/{owner}" if owner else "",
    }


def _spell(value: object) -> Any:  # noqa: ANN401  # a text or LEFT_OUT
    """Return a number or a string as a string: the schema has no numbers there."""
    return str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else LEFT_OUT


def _is_web(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://")) and not set(value) & set(' "<>\\^`{|}')


def _text(value: Text | None) -> str:
    return "" if value is None else value.value
