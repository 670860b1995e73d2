"""What ``ccci prove`` plays on the real thing: bad pull requests against a person's documents."""
