"""Release: freeze the newest capture of every package into a signed, immutable release of our own channel."""
