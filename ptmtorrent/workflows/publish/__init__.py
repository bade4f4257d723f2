"""Publish: a release of the home's own channel into a folder or a Globus collection.

`publish` and `globus` copy files, `listing` chooses and signs what the destination lists, and `retire` takes a release
off that list. `same_channel` and `compare` check what is there already. Invariant: the timestamp is written last, and
only after a reader accepted the destination with it (`reading/read_back`).
"""
