"""Other projects' formats, written from a release."""
