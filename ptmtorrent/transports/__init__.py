"""Transports: deliver extents of packs into a staging folder, from folders, web servers, swarms and Globus.

::

    port -> begun -> local, http, torrent/, globus/ -> retrying, fill_holes -> hybrid

In come requests for extents of packs; out comes one outcome for every extent, `Delivered` or `Failed`. `port` defines
the protocol. `local`, `http`, `torrent/` and `globus/` implement one source each. `retrying` repeats requests to a
source; `reading/sources` tries one source after the other. `hybrid` runs a swarm and a web server at the same time, and
`fill_holes` lets the server complete packs that the swarm began. What an earlier run left in staging, by any transport,
is used by every other: `begun` finds it and requests the rest, a swarm hashes it first.

Invariants: delivered bytes are untrusted until the caller has hashed their objects. An adapter raises only errors of
this project and never retries. At most `WINDOW_BYTES` are staged and not yet consumed.
"""
