"""Estimates the time that file requests take within the stated or documented limits of a hub."""

from collections.abc import Mapping

import msgspec

_KINDS = {"huggingface": "resolvers", "kaggle": "files"}
"""The class of file requests per hub; other hubs have one class for all requests."""

HUGGING_FACE_RESOLVERS = {
    500: 3_000,
    1_000: 5_000,
    2_500: 12_000,
    3_000: 20_000,
    6_000: 50_000,
    10_000: 100_000,
    100_000: 500_000,
}
"""Files per five minutes, by the API calls per five minutes of the same account.

Source: Hugging Face Hub documentation, "Hub rate limits", table of tiers of September 2025.
"""

_WINDOW_SECONDS = 300


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """`requests` per window of `seconds`."""

    requests: int
    seconds: int

    def hours(self, requests: int) -> float:
        """Return the hours that a number of requests takes at this limit."""
        return requests * self.seconds / max(1, self.requests) / 3600


def file_limit(hub: str, quotas: Mapping[str, tuple[int, int]]) -> Limit | None:
    """Return the limit of file requests to the hub named `hub`; None when it is unknown.

    `quotas` are the `(requests, seconds)` that replies stated, by class. For Hugging Face, one API call reveals the
    tier of the account, before any file is requested.
    """
    stated = quotas.get(_KINDS.get(hub, ""))
    if stated is not None:
        return Limit(requests=stated[0], seconds=stated[1])
    calls, seconds = quotas.get("api", (None, _WINDOW_SECONDS))
    if hub == "huggingface" and calls in HUGGING_FACE_RESOLVERS:
        return Limit(requests=HUGGING_FACE_RESOLVERS[calls], seconds=seconds)
    return None
