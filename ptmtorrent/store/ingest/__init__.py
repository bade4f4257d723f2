"""From files to objects in open packs."""
