"""Globus on loopback: the Transfer service and a token endpoint, and real GridFTP servers and nginx for the bytes.

Only the control plane is emulated, because no machine here can reach the real one. Its shapes are checked against the
fixtures of `globus_sdk.testing`, and its behaviour by the unmodified globus-cli.
"""
