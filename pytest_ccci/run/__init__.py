"""One test of one recipe: planned by pure decisions, carried out once, told by records."""
