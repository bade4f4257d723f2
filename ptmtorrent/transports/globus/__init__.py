"""Packs by Globus Transfer and by the HTTPS servers of collections."""
