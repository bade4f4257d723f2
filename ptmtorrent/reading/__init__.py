"""From a plan to verified objects: what every reader of a channel shares."""
