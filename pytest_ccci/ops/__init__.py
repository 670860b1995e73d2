"""What an operator does with the machine: make it ready, look at it, put things right, free space."""
