"""Maintenance of the store: what it holds, check, repair, and deletion of unneeded packs."""
