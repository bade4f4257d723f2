"""One adapter a hub, and the engine all of them share: spool, governor, LFS rules."""
