"""What ``ccci prove`` plays on the real thing: bad pull requests against data, and updates of what is shared."""
