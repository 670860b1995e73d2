"""Known-goods: snapshots, the record that says which one is true, and the way back to it."""
