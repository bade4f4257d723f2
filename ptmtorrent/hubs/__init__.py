"""Upstream registries of models: one adapter per hub behind one port, and the HTTP client they share.

In comes what a user asked for (a kind of hub, an endpoint, ids or a threshold); out go our records: pages of `Listed`
packages, a package pinned to a commit (`Described`), its files with the hashes the hub promises (`HubFile`), and where
the bytes of a file are now (`Located`). The clone workflow downloads them; nothing is stored here.

Order of reading: `port` (what every hub can do), `registry` (which hubs exist), `client/` (session, budgets, redaction,
downloads), then one hub. `git/` serves every hub whose packages are git remotes, `catalogues` those that only link to
such remotes (`pytorch/`, `modelzoo`, `modelhub/`). `folder` captures local folders. `record` turns any raw answer into
the uniform record.

Invariant: an adapter translates foreign records and foreign exceptions once, at this border, and never retries or
sleeps. No byte is accepted because a hub vouches for it: hashes are checked where the bytes arrive.
"""
