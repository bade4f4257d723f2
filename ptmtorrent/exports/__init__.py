"""What other tools read: records of ours in the shapes of others."""
