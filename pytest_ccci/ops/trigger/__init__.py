"""Commands in comments on pull requests: what they say, who may give them, and for which commit they stand. Pure."""
