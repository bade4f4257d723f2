import gzip
from collections import Counter
from pathlib import Path

import pytest

from ptmtorrent.facts.licences import read_licence, rights_of
from ptmtorrent.hubs.huggingface.records import read_listed

REAL = Path(__file__).parents[2].parent / "shared/data/huggingface/hf-models-2022-02.sample.jsonl.gz"


@pytest.mark.parametrize(
    "licence", ["apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "bsd-3-clause", "MIT", "mit AND apache-2.0"]
)
def test_licences_that_allow_redistribution_are_open(licence: str) -> None:
    assert rights_of(licence, gated=False) == "open"


@pytest.mark.parametrize(
    "licence", [None, "", "other", "unknown", "openrail", "cc-by-nc-4.0", "llama3", "mit AND other", "mit OR other"]
)
def test_everything_else_is_restricted(licence: str | None) -> None:
    assert rights_of(licence, gated=False) == "restricted"


def test_gate_is_stronger_than_any_licence() -> None:
    assert rights_of("mit", gated=True) == "gated"


@pytest.mark.parametrize(
    ("raw", "spdx", "rights", "rule"),
    [
        ("apache-2", "Apache-2.0", "open", "open:apache-2"),
        ("Academic Free License v3.0", "AFL-3.0", "open", "open:academic free license v3.0"),
        ("mit AND cc-by-nc-4.0", "MIT AND CC-BY-NC-4.0", "restricted", "restricted:cc-by-nc-4.0"),
        ("cc-by-nc-4.0 AND what", None, "unknown", "no rule for what"),
        ("gpl", None, "open", "open:gpl"),
        (None, None, "unknown", "no licence named"),
        ("???", None, "unknown", "unknown:???"),
    ],
)
def test_licence_has_an_expression_a_class_and_the_rule_that_gave_it(
    raw: str | None, spdx: str | None, rights: str, rule: str
) -> None:
    read = read_licence(raw, gated=False)
    assert (read.raw, read.spdx, read.rights, read.rule) == (raw, spdx, rights, rule)


def test_gate_gives_its_own_rule_and_keeps_the_expression() -> None:
    read = read_licence("mit", gated=True)
    assert (read.spdx, read.rights, read.rule) == ("MIT", "gated", "gate")


@pytest.mark.skipif(not REAL.is_file(), reason="the real records are not here")
def test_real_licences_fall_into_the_classes() -> None:
    with gzip.open(REAL) as lines:
        listed = [read_listed(line) for line in lines]
    read = [read_licence(package.licence, gated=package.access == "gated") for package in listed]
    counts = Counter(licence.rights for licence in read)
    print(counts)  # noqa: T201  # shown by `pytest -s`
    assert counts == {"open": 1861, "restricted": 36, "unknown": 5461}
    assert not [licence.rule for licence in read if licence.rule.startswith("no rule")]
