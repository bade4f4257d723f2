"""What the ONNX zoo states about a folder: its path, the entries of its manifest, and the README."""

import posixpath
from collections.abc import Mapping
from typing import Any

from ptmtorrent.hubs.facts import MAX_TEXTS, Answer, is_web, map_text, owner_in, page_of_owner, stated
from ptmtorrent.hubs.onnx.records import tags_of, task_of
from ptmtorrent.model.uniform_record import Facts, Text, Texts

_README = "files/README.md"


def read_facts(name: str, answer: Mapping[str, Any]) -> Facts:
    """Return what the zoo states about the folder `name`."""
    look = Answer("record", answer)
    remote, commit, task = look.web("/remote"), look.text("/commit"), task_of(name)
    tags = _tags(answer)
    return stated(
        title=_title(look, answer),
        owner=owner_in(remote) or Text("onnx", "hub"),
        url=_folder_url(remote, commit, name),
        owner_url=page_of_owner(remote),
        revision=commit,
        task=Text(task, "package") if task else None,
        datasets=_of_readme(look.texts("/readme/datasets")),
        papers=_of_readme(look.texts("/readme/papers")),
        metrics=_metrics(answer),
        licence=_of_readme_text(look.text("/readme/licence")),
        library=Text("onnx", "hub"),
        tags=Texts(tags, "record#/manifest") if tags else None,
        description=_of_readme_text(look.description("/readme/description")),
    )


def url_of(answer: Mapping[str, Any], path: str) -> str | None:
    """Return the address of a file at the captured commit of the zoo."""
    remote, commit = answer.get("remote"), answer.get("commit")
    url = f"{remote}/blob/{commit}/{path}"
    return url if isinstance(remote, str) and isinstance(commit, str) and is_web(url) else None


def metrics_of(answer: Mapping[str, Any], path: str) -> Mapping[str, str]:
    """Return what the README states about the model at `path`, by the heading of its column."""
    readme = answer.get("readme")
    models = readme.get("models") if isinstance(readme, dict) else None
    found = models.get(path) if isinstance(models, dict) else None
    return found if isinstance(found, dict) else {}


def _title(look: Answer, answer: Mapping[str, Any]) -> Text | None:
    """Return the name that all models of the folder share; a folder of several models has none."""
    entries = answer.get("manifest")
    names = {str(row.get("model")) for row in (entries if isinstance(entries, list) else ()) if isinstance(row, dict)}
    return look.text("/manifest/0/model") if len(names) == 1 else None


def _metrics(answer: Mapping[str, Any]) -> Texts | None:
    readme = answer.get("readme")
    models = readme.get("models") if isinstance(readme, dict) else None
    found = [
        f"{name} {value} ({posixpath.basename(path)})"
        for path, row in (models.items() if isinstance(models, dict) else ())
        for name, value in row.items()
        if name.lower() != "dataset"
    ]
    return Texts(tuple(found[:MAX_TEXTS]), _README) if found else None


def _folder_url(remote: Text | None, commit: Text | None, name: str) -> Text | None:
    if commit is None:
        return remote
    return map_text(remote, lambda url: made if is_web(made := f"{url}/tree/{commit.value}/{name}") else url)


def _of_readme(texts: Texts | None) -> Texts | None:
    return Texts(texts.value, _README) if texts else None


def _of_readme_text(text: Text | None) -> Text | None:
    return Text(text.value, _README) if text else None


def _tags(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tags of all entries of the manifest, each once."""
    entries = answer.get("manifest")
    rows = [entry for entry in (entries if isinstance(entries, list) else ()) if isinstance(entry, dict)]
    return tuple(dict.fromkeys(tag for row in rows for tag in tags_of(row)))[:MAX_TEXTS]
