"""`keys rotate`, `keys revoke` and `keys sign`: change the keys of the home's own channel.

`rotate` and `revoke` create keys and a next root; `sign` adds signatures to one. All three end in `staging`: the root
is published once its signatures suffice, and waits in a file until then.
"""
