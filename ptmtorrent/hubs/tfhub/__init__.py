"""TensorFlow Hub as a hub: `adapter` joins its documents with the bytes on Kaggle, `documents` parses and resolves.

The site is closed. Its documents are in a git remote, its files moved to Kaggle Models, and each old handle still
redirects there (ADR 0022). Package names are the old handles; the revision is the version on Kaggle.
"""
