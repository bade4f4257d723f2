"""Modelhub.ai as a hub: `adapter` reads the registry and `init.json`, `config` a package's own configuration.

It is one of the catalogues over git remotes (`hubs/catalogues.py`): the registry names a remote per package.
"""
