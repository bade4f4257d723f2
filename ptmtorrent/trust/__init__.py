"""Trust: signs a channel with TUF and minisign, and verifies channels before a release is used.

::

    maintainer:  keys, roles -> own, history -> publisher -> channel_state
    reader:      fingerprints -> pins -> fetcher, refresh, memory -> client
    both:        metadata (the only parser of TUF documents), listings (the releases among TUF targets)

For the maintainer, in come a finished release and the keys; out come signed documents in the channel folder, the
timestamp last. For a reader, in come a channel and a pinned root or a content root; out comes one `VerifiedRelease`.
`sample` is the content root of the sample channel.

Invariants: python-tuf verifies all signatures. Nothing is trusted on first use. A channel whose newest release is older
than one seen before is refused.
"""
