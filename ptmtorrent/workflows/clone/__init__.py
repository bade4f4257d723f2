"""Clone: from a hub's listing to snapshots in the store."""
