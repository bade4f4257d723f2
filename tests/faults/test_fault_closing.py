"""A server that ends every connection after N bytes is read to the end in one run, and sends no byte twice."""

from pathlib import Path

import pytest

from tests.faults.closing import fetch_closing


@pytest.mark.parametrize("closes", [97, 5_000, 1_000_003])
def test_channel_of_a_server_that_closes_early_is_fetched_in_one_run(tmp_path: Path, closes: int) -> None:
    outcome = fetch_closing(tmp_path, closes)
    assert outcome.holds, outcome
    assert outcome.requests > outcome.planned // closes
