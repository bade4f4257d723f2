"""The channel: the static files of releases, where each is, and readers of folders and web servers.

::

    port, paths -> readers -> web_reader, folder -> unlisted

In comes the path of a file below the root of a channel; out come its bytes, bounded by a size that the caller verified.
`port` defines `ChannelReader`, `paths` spells every path, `readers` read a folder and the files that a release lists,
`web_reader` reads a web server, `folder` reads the channel of this home, and `unlisted` finds and deletes what no
release there needs.

Invariant: nothing in this package checks a signature. `trust` verifies `release.json`, and hashes verify the rest.
"""
