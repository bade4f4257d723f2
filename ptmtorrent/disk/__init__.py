"""Durable writes, locks and files being received: what everything above writes with."""
