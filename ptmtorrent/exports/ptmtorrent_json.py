"""The JSON of the PTMTorrent data set of 2023: per package, one uniform record and one in its hub's own format.

Pure. The schemas allow almost no nulls and no additional members. Values that the hub did not give are left out, or are
an empty string where the uniform schema requires the member (a Hugging Face package without a namespace has no owner).
Source: PTMTorrent, `ptm_torrent/utils/schemas`.
"""

import re
from collections.abc import Mapping
from typing import Any

from blake3 import blake3

from ptmtorrent.catalogue.query import PackageRow
from ptmtorrent.errors import IntegrityError
from ptmtorrent.exports.shapes import LEFT_OUT, SHAPES, keep
from ptmtorrent.hubs.onnx.facts import metrics_of, url_of
from ptmtorrent.hubs.pytorch.facts import demo_of
from ptmtorrent.model.bounds import decode_json

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
"""The file of an export with the list of one hub's records; `MetadataObjectID` is a position in it, from 0."""

_CATEGORIES = {
    "classification": "image_classification",
    "object_detection_segmentation": "object_detection",
    "body_analysis": "body_analysis",
    "super_resolution": "image_manipulation",
    "style_transfer": "image_manipulation",
    "machine_comprehension": "machine_comprehension",
}


_METRICS = (
    ("Top-1% Accuracy", re.compile(r"top-?1 (?:%? ?)acc", re.IGNORECASE)),
    ("Top-5% Accuracy", re.compile(r"top-?5 (?:%? ?)acc", re.IGNORECASE)),
    ("Top-1 Error (%)", re.compile(r"top-?1 error", re.IGNORECASE)),
    ("Mean IoU", re.compile(r"mean iou", re.IGNORECASE)),
    ("mIOU", re.compile(r"miou", re.IGNORECASE)),
    ("mAP", re.compile(r"map\b", re.IGNORECASE)),
    ("Accuracy", re.compile(r"accuracy", re.IGNORECASE)),
    ("Dataset", re.compile(r"dataset", re.IGNORECASE)),
)
"""The members of a model of the ONNX zoo, and the headings of the columns that they are of."""


def stable_id(name: str) -> int:
    """Return the id of a package or model, which is the same in every export: 48 bits of the BLAKE3 of its name."""
    return int.from_bytes(blake3(name.encode()).digest(6), "big")


def uniform_json(row: PackageRow, position: int) -> dict[str, Any]:
    """Return the uniform record of a package whose record in the list of its hub is at `position`, counted from 0."""
    name, url = HUBS.get(row.hub, (row.hub, ""))
    made: dict[str, Any] = {
        "id": stable_id(row.package),
        "ModelHub": {
            "ModelHubName": name,
            "ModelHubURL": url,
            "MetadataFilePath": METADATA.format(row.hub),
            "MetadataObjectID": position,
        },
        "ModelName": row.title or row.name,
        "ModelOwner": row.owner or "",
        "ModelURL": row.url or "",
        "ModelOwnerURL": row.owner_url or "",
        "LatestGitCommitSHA": row.commit or "",
    }
    if row.datasets:
        made["Datasets"] = [_dataset(each, row.hub) for each in row.datasets]
    if row.papers:
        made["ModelPaperDOIs"] = list(row.papers)
    named = (("ModelTask", row.task), ("ModelArchitecture", row.architecture))
    made |= {field: value for field, value in named if value is not None}
    return made | {column: value for column in JOINED if (value := _value(row, column)) not in (None, (), [])}


JOINED = (
    *("package", "snapshot", "revision", "version", "licence", "rights", "files", "bytes", "missing"),
    *("captured", "listed", "modified", "downloads", "likes", "creators", "library", "tags", "metrics"),
    *("description", "sources"),
)
"""The columns of the table of packages that a uniform record has besides the members of 2023, by the same names."""


def _value(row: PackageRow, column: str) -> Any:  # noqa: ANN401  # what the column has
    value = getattr(row, column)
    if column != "sources" or value is None:
        return value
    try:
        return decode_json(value)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"`{row.package}`: the sources of its facts are not JSON: {error}") from error


def hub_json(row: PackageRow, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the records of a package in its hub's own format.

    A package has one record, except for ONNX: there each model that the zoo's manifest lists in the package has one.
    `answer` is the hub's raw answer.
    """
    if row.hub == "onnx":
        return _onnx(row, answer)
    if row.hub == "pytorch":
        return [_pytorch(row, answer)]
    shape = SHAPES.get(row.hub)
    if shape is None:
        return [dict(answer)]
    kept: dict[str, Any] = keep(dict(answer), shape)
    if row.hub == "modelzoo":
        kept["id"] = stable_id(row.package)
        if kept.get("papers"):
            kept["papers"] = {title: url for title, url in kept["papers"].items() if _is_web(url)}
    for key in ("link", "github"):
        if kept.get(key) is not None and not _is_web(kept[key]):
            del kept[key]
    return [kept]


def _pytorch(row: PackageRow, answer: Mapping[str, Any]) -> dict[str, Any]:
    demo = demo_of(answer)
    made = {
        "id": stable_id(row.package),
        "ModelName": row.title or row.name,
        "ModelAuthor": ", ".join(row.creators or ()),
        "ModelDescription": row.description or "",
        "ModelURL": f"{HUBS['pytorch'][1]}/{row.name}/",
        "GitHubURL": row.url if _is_web(row.url) else LEFT_OUT,
        "DemoURL": demo if _is_web(demo) else LEFT_OUT,
    }
    return {key: value for key, value in made.items() if value is not LEFT_OUT and value != ""}


def _onnx(row: PackageRow, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = answer.get("manifest")
    rows = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    rows = rows or [{"model": row.name.rpartition("/")[2], "model_path": row.name}]
    category = next((_CATEGORIES[step] for step in row.name.split("/") if step in _CATEGORIES), LEFT_OUT)
    return [_onnx_model(row, answer, entry, category) for entry in rows]


def _onnx_model(
    row: PackageRow,
    answer: Mapping[str, Any],
    entry: Mapping[str, Any],
    category: Any,  # noqa: ANN401  # a text or LEFT_OUT
) -> dict[str, Any]:
    about, path = entry.get("metadata"), entry.get("model_path")
    about = about if isinstance(about, dict) else {}
    path = path if isinstance(path, str) else ""
    url = url_of(answer, path) if path != row.name else row.url
    made = {
        "id": stable_id(f"{row.package}#{path}"),
        "Model": _spell(entry.get("model")),
        "ModelPath": _spell(path),
        "ONNXVersion": _spell(entry.get("onnx_version")),
        "OpsetVersion": _spell(entry.get("opset_version")),
        "ModelSize": _spell(about.get("model_bytes")),
        "ModelSampleSize": _spell(about.get("model_with_data_bytes")),
        "ModelSamplePath": _spell(about.get("model_with_data_path")),
        "Category": category,
        "GitHub URL": url if _is_web(url) else LEFT_OUT,
        **_metrics(metrics_of(answer, path)),
    }
    kept: dict[str, Any] = keep({key: value for key, value in made.items() if value is not LEFT_OUT}, SHAPES["onnx"])
    return kept


def _metrics(stated: Mapping[str, str]) -> dict[str, str]:
    """Return the metrics of a model by the members of its record; a heading that no member is of is left out."""
    found: dict[str, str] = {}
    for heading, value in stated.items():
        member = next((name for name, pattern in _METRICS if pattern.search(heading)), None)
        if member is not None:
            found.setdefault(member, value)
    return found


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
