"""Docker: the daemon, its client, stacks and how they converge, images, names."""
