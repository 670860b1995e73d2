"""Two places where a version may do something of its own."""


def before_migrations():
    """Run once, before the database is touched."""


def not_ready_because():
    """A reason why this version does not want to serve yet."""
    return "the search index is not built"
