"""Git remotes as a hub: process, objects, trees, clones, LFS."""
