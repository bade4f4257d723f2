"""Names that resemble popular ones, and those that do not."""

import pytest

from ptmtorrent.facts.near_names import PopularNames, normalise

POPULAR = PopularNames(["hf:google-bert/bert-base-uncased", "hf:meta-llama/Llama-2-7b", "hf:openai/whisper-large"])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("hf:google-bertt/bert-base-uncased", "one letter"),
        ("hf:gogle-bert/bert-base-uncased", "one letter"),
        ("hf:goolge-bert/bert-base-uncased", "one letter"),
        ("hf:googlebert/bert_base.uncased", "look alike"),
        ("hf:g\u043e\u043egle-bert/bert-base-uncased", "look alike"),
        ("hf:rneta-llama/llama-2-7b", "look alike"),
        ("hf:meta-l1ama/Llama-2-7b", "look alike"),
        ("hf:ópenai/whisper-large", "look alike"),
        ("hf:whisper-large/openai", "swapped"),
    ],
)
def test_name_that_resembles_a_popular_one_is_found(name: str, how: str) -> None:
    found = POPULAR.resembled_by(name)
    assert found is not None
    assert how in found.how


@pytest.mark.parametrize(
    "name",
    [
        "hf:google-bert/bert-base-uncased",
        "hf:google-bert/bert-base-uncaset",
        "hf:openai/whisper-larges",
        "hf:someone/bert-base-uncased",
        "hf:openai/whisper-small",
        "kaggle:openai/whisper-large",
        "hf:a/b",
    ],
)
def test_name_of_the_same_owner_and_others_are_not_reported(name: str) -> None:
    assert POPULAR.resembled_by(name) is None


def test_normalised_names_keep_hub_and_owner_apart() -> None:
    assert normalise("hf:A-b_c.d/E") == "hf:abcd/e"
