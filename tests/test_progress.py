"""The meter: readings a few times a second of its own clock, with a rate over the last seconds."""

from ptmtorrent.progress import Meter, Reading


def readings_of(*steps: float) -> list[Reading]:
    """One byte per step of so many seconds."""
    now = 1000.0
    seen: list[Reading] = []

    def monotonic() -> float:
        return now

    meter = Meter(seen.append, monotonic, bytes_total=100)
    for step in steps:
        now += step
        meter.add(bytes=1)
    return seen


def test_readings_come_a_few_times_a_second() -> None:
    assert len(readings_of(*[0.1] * 11)) == 6


def test_the_rate_is_that_of_the_last_seconds() -> None:
    assert readings_of(*[100.0] * 3, *[1.0] * 20)[-1].bytes_per_second == 1.0


def test_readings_go_on_after_a_clock_that_steps_back() -> None:
    seen = readings_of(1, 1, -3600, *[1] * 600)

    assert len(seen) == 603
    assert seen[-1].bytes_per_second == 1.0
