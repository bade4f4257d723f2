"""Clusters: the file that describes one, and the library that runs functions on its workers."""
