"""The base models that a package declares, from its hub's tags and its card.

Hugging Face has them as tags, `base_model:org/name` and `base_model:<relation>:org/name`, and in the card::

    {"tags": ["base_model:org/base", "base_model:finetune:org/base"], "cardData": {"base_model": ["org/base"]}}

Cards are free-form, so a value of an unexpected type counts as absent.
"""

from collections.abc import Iterable, Iterator

import msgspec

from ptmtorrent.model.bounds import decode_json

MAX_BASES = 8
"""Limit of bases that are considered: a merge may name dozens."""

_TAG = "base_model:"
_SHARES_NUMBERS = ("finetune", "", "merge")
"""The relations whose weights are close to those of the base, closest first; "" is an unstated relation."""

_SHARES_NONE = ("adapter", "quantized")


class _Card(msgspec.Struct):
    base_model: object = None
    base_model_relation: object = None


class _Record(msgspec.Struct):
    card: object = msgspec.field(default=None, name="cardData")


def base_models(tags: Iterable[str], record: str | bytes = b"") -> tuple[str, ...]:
    """Return the base models whose weights are likely close to this package's, closest first, by name on the same hub.

    `record` is the hub's JSON record, whose card is read too. The order is fine-tunes, bases with an unstated relation,
    parts of a merge. Adapters and quantized versions share no numbers with their base and are left out.
    """
    found: dict[str, set[str]] = {}
    for relation, name in (*_of_tags(tags), *_of_card(record)):
        found.setdefault(relation, set()).add(name)
    useless = set().union(*(found.get(relation, ()) for relation in _SHARES_NONE))
    ordered = (name for relation in _SHARES_NUMBERS for name in sorted(found.get(relation, ())))
    return tuple(dict.fromkeys(name for name in ordered if name not in useless))[:MAX_BASES]


def _of_tags(tags: Iterable[str]) -> Iterator[tuple[str, str]]:
    for tag in tags:
        if tag.startswith(_TAG):
            relation, _, name = tag.removeprefix(_TAG).rpartition(":")
            yield relation, name


def _of_card(record: str | bytes) -> Iterator[tuple[str, str]]:
    try:
        card = msgspec.convert(decode_json(record, _Record).card, _Card)
    except (ValueError, RecursionError):
        return
    names = card.base_model if isinstance(card.base_model, list) else [card.base_model]
    relation = card.base_model_relation if isinstance(card.base_model_relation, str) else ""
    yield from ((relation, name) for name in names if isinstance(name, str))
