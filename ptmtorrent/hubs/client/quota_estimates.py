"""How long a number of file requests takes within a hub's limits, told or documented."""

from collections.abc import Mapping

import msgspec

_KINDS = {"huggingface": "resolvers", "kaggle": "files"}
"""The class that each hub counts requests for files as; those not named here have one class for everything."""

HUGGING_FACE_RESOLVERS = {
    500: 3_000,
    1_000: 5_000,
    2_500: 12_000,
    3_000: 20_000,
    6_000: 50_000,
    10_000: 100_000,
    100_000: 500_000,
}
"""Files in five minutes, by the API calls in five minutes that the same account has.

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

    `quotas` are what its replies told, `(requests, seconds)` by class. Of Hugging Face the account's tier is known as
    soon as it answered a call of the API, before a file was asked for.
    """
    told = quotas.get(_KINDS.get(hub, ""))
    if told is not None:
        return Limit(requests=told[0], seconds=told[1])
    calls, seconds = quotas.get("api", (None, _WINDOW_SECONDS))
    if hub == "huggingface" and calls in HUGGING_FACE_RESOLVERS:
        return Limit(requests=HUGGING_FACE_RESOLVERS[calls], seconds=seconds)
    return None
