"""Files that are damaged in every way are still cut into pieces that make them up; `scripts/fuzz-cutters` does more."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.cutters.fuzzing import check, fuzz, mutate, target
from tests.store.cutters.samples import samples

TARGETS = {name: target(sample) for name, sample in samples().items()}
OTHERS = [aim.sample.data for aim in TARGETS.values()]


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(TARGETS)), rng=st.randoms(use_true_random=False))
def test_a_damaged_file_is_cut_into_pieces_that_make_it_up(name: str, rng: random.Random) -> None:
    _, why = check(mutate(TARGETS[name], OTHERS, rng))
    assert why == ""


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"text"}))
def test_mutations_reach_beyond_the_first_check(name: str) -> None:
    tally, wrong = fuzz(name, TARGETS, 100, seed=1)
    assert wrong is None
    assert tally.cutters[TARGETS[name].sample.cutter] >= 10
