"""Download packs from a swarm, and seed the packs of a channel folder.

`transport` implements the port: it assigns requests to volumes and runs one `download` per attempt; `session` wraps
libtorrent (settings, profiles, alerts); `seeder` serves volumes without writing. Invariant: only whole packs whose
pieces were hashed and flushed to disk are delivered as complete. No other room imports libtorrent.
"""
