import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptmtorrent.facts.base_models import MAX_BASES, base_models


def card(base: object, **more: object) -> str:
    return json.dumps({"id": "a/x", "cardData": {"base_model": base, **more}})


@pytest.mark.parametrize(
    ("tags", "bases"),
    [
        (["base_model:org/base"], ("org/base",)),
        (["base_model:org/base", "base_model:finetune:org/base"], ("org/base",)),
        (["base_model:a", "base_model:finetune:z/z"], ("z/z", "a")),
        (["base_model:merge:org/one", "base_model:merge:org/two"], ("org/one", "org/two")),
        (["base_model:merge:a/merged", "base_model:org/plain"], ("org/plain", "a/merged")),
        (["base_model:org/base", "base_model:adapter:org/base"], ()),
        (["base_model:org/base", "base_model:quantized:org/base"], ()),
        (["base_model:unheard-of:org/base"], ()),
        (["license:mit", "base_models:org/base", "pytorch"], ()),
        ([], ()),
    ],
)
def test_tags_name_bases_by_how_close_they_are(tags: list[str], bases: tuple[str, ...]) -> None:
    assert base_models(tags) == bases


@pytest.mark.parametrize(
    ("record", "bases"),
    [
        (card("org/base"), ("org/base",)),
        (card(["org/base", "org/other"]), ("org/base", "org/other")),
        (card("org/base", base_model_relation="finetune"), ("org/base",)),
        (card("org/base", base_model_relation="adapter"), ()),
        (card(["org/base", 7, None]), ("org/base",)),
        (card({"name": "org/base"}), ()),
        (card(None), ()),
        ('{"cardData": [1]}', ()),
        ('{"cardData": null}', ()),
        ("{}", ()),
        ("[]", ()),
        ("", ()),
        ('{"cardData": {"base_model": "\\ud800"}}', ()),
        ("[" * 100_000, ()),
    ],
)
def test_card_names_bases_too(record: str, bases: tuple[str, ...]) -> None:
    assert base_models([], record) == bases


def test_relation_in_a_tag_holds_for_the_card() -> None:
    assert base_models(["base_model:quantized:org/base"], card("org/base")) == ()


def test_bases_are_few_and_each_once() -> None:
    tags = [f"base_model:merge:org/{number:02}" for number in range(50)]

    assert base_models([*tags, *tags]) == tuple(f"org/{number:02}" for number in range(MAX_BASES))


@given(tags=st.lists(st.text(max_size=30).map("base_model:".__add__), max_size=5), record=st.binary(max_size=50))
@settings(max_examples=100, deadline=None)
def test_anything_people_write_is_survived(tags: list[str], record: bytes) -> None:
    assert len(base_models(tags, record)) <= MAX_BASES
