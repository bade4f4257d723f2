"""What Kaggle states about a variation, and about the model that it is one of."""

from collections.abc import Mapping
from typing import Any

from ptmtorrent.hubs.facts import Answer, map_text, stated
from ptmtorrent.model.uniform_record import Count, Facts, Text

ANSWER = "model"
WEB = "https://www.kaggle.com"

_ENUM = "MODEL_FRAMEWORK_"


def read_facts(name: str, answer: Mapping[str, Any]) -> Facts:
    """Return what the answer states about the package `name`."""
    look = Answer(ANSWER, answer)
    owner = name.partition("/")[0]
    version = look.count("/instance/versionNumber")
    return stated(
        title=look.text("/model/title"),
        owner=Text(owner, "package"),
        url=Text(f"{WEB}/models/{name}", "package"),
        owner_url=Text(f"{WEB}/{owner}", "package"),
        revision=_version(version),
        licence=look.text("/instance/licenseName"),
        library=map_text(look.text("/instance/framework"), spell_framework),
        description=look.description("/model/subtitle", "/model/description", "/instance/overview"),
        likes=look.count("/model/voteCount"),
        modified=look.text("/model/updateTime"),
    )


def spell_framework(name: str) -> str:
    """Return `tensorFlow2` for `MODEL_FRAMEWORK_TENSOR_FLOW_2`; any other name unchanged."""
    if not name.startswith(_ENUM):
        return name
    first, *rest = name.removeprefix(_ENUM).lower().split("_")
    return first + "".join(word.capitalize() for word in rest)


def _version(number: Count | None) -> Text | None:
    return Text(str(number.value), number.source) if number and number.value else None
