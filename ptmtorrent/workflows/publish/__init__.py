"""Publish: a release of the home's own channel into a folder or a Globus collection."""
