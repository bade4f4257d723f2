"""Release: freeze the newest capture of every package into a signed, immutable release of our own channel.

::

    select -> plan -> release                 which captures, and what is said of them
    recall | kept, carried -> collect         what is known, or compared: members kept, made anew, gone
    members, locate, stats                    documents and places of a member; what it adds to the counts
    index, volumes -> write                   one run of what changed; torrents; `release.json`

In come the captures of the store and the previous release; out comes a folder with what changed, which lists the rest
where it lies. `recall` spares looking at every package, and changes no byte of what is written.

Invariant: no listed file names a package that may not be passed on, and no listed pack holds an object of one.
"""
