"""The demo: a sample hub, the packages it serves, and a run of the whole program on one machine.

::

    noise -> tensors -> formats/, texts -> families, oddities -> packages, bulk      generated packages
    package, contents, git_ids -> hub/ -> sample_hub                                 a hub that serves them
    processes -> run                                                                 the `demo` verb
    sample                                                                           the sample channel

`run` starts the hub, clones it, releases and publishes the packages, seeds them, fetches them by BitTorrent and
compares every file with the hub's. Tests use the same hub and packages.

Invariant: the bytes of every sample package are the same on every machine, because the content root of the sample
channel is pinned.
"""
