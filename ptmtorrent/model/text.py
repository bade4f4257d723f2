"""Counts as they are written in messages."""


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 package`, `2 packages`, `1,200 packages`; `plural` where it is not the noun and an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
