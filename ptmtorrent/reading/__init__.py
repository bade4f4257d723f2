"""Reading: from a plan to verified objects. What every reader of a channel shares.

::

    open_channel -> sources -> transfer -> decode -> deltas

`open_channel` finds a channel and verifies its release; `collection` does so for one in Globus. `sources` chooses the
transports for its packs. `transfer` runs a plan over them and yields decoded objects, in the thread of the consumer;
`decode` does the work in threads, and `deltas` keeps what must wait for its other half. `read_back` reads a channel as
a client does before its new timestamp is written. `channel_packs` verifies the packs of a channel folder. Nothing
leaves the room before its hash is checked, and nothing here knows what the objects are for.
"""
