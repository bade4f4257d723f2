"""Git remotes as a hub, and what every hub of git remotes shares.

In comes the URL of a remote and a commit; out go its files with the hashes that the commit names, the git objects that
prove them, and the bytes. Order of reading: `adapter` (the hub `git`), `clones` (bare clones on disk, shared by
threads), `trees` (the paths of a commit, LFS pointers recognised), `objects` (reading and proving git objects),
`process` (the `git` program, sandboxed), `lfs` (the batch API).

Invariants: a remote is hostile. Git gets no hooks, settings or credentials of the user, and never checks anything out.
The hash of every object is computed again before its bytes are used, and `.lfsconfig` is not obeyed.
"""
