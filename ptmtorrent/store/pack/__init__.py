"""The pack format: bytes, reader, writer, hashes."""
