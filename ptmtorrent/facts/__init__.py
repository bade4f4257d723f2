"""What can be read off a package without running anything."""
