"""SQL asked of a service's own database by the client inside its container: Postgres, MariaDB and MySQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_ccci.errors import ProgramHangs
from pytest_ccci.run.app import App

__all__ = ["Login", "NoAnswer", "ask", "find_login"]

# As the official images read their variables: a value, else what the file of its _FILE holds; the first that says one.
_OWN = """
own() {
    for name in "$@"; do
        eval "value=\\${$name:-} file=\\${${name}_FILE:-}"
        if [ -z "$value" ] && [ -r "$file" ]; then value=$(cat "$file"); fi
        if [ -n "$value" ]; then return; fi
    done
}
"""
_CLIENT = """
client() {
    for client in "$@"; do
        if command -v "$client" >/dev/null 2>&1; then return; fi
    done
    false
}
"""
_LOGIN = f"""{_OWN}{_CLIENT}
if client psql; then
    dialect=postgres
    own POSTGRES_USER; user=${{1:-${{value:-postgres}}}}
    own POSTGRES_DB; database=${{2:-${{value:-$user}}}}
elif client mariadb mysql; then
    dialect=mysql
    own MARIADB_USER MYSQL_USER; user=${{1:-${{value:-root}}}}
    own MARIADB_DATABASE MYSQL_DATABASE; database=${{2:-$value}}
else
    echo 'it has none of the programs psql, mariadb and mysql' >&2; exit 127
fi
printf '%s\n' "$dialect" "$user" "$database"
"""
# psql -q: without it command tags are printed into the answer; -w: nobody is there to be asked for a password.
_ASK = {
    "postgres": f"""{_OWN}
own POSTGRES_PASSWORD; [ -z "$value" ] || export PGPASSWORD="$value"
exec psql -wqtAX -v ON_ERROR_STOP=1 -U "$1" -d "$2" -c "$3"
""",
    "mysql": f"""{_OWN}{_CLIENT}
case $1 in
root) own MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD ;;
*) own MARIADB_PASSWORD MYSQL_PASSWORD ;;
esac
[ -z "$value" ] || export MYSQL_PWD="$value"
client mariadb mysql
exec "$client" --batch --raw --skip-column-names --user="$1" --database="$2" --execute="$3"
""",
}


class NoAnswer(Exception):
    """The database's client did not do what it was asked; what that means depends on what for."""


@dataclass(frozen=True)
class Login:
    """Who asks which database, and in which dialect: ``postgres``, or ``mysql`` (MariaDB too)."""

    dialect: str
    user: str
    database: str

    @classmethod
    def remembered(cls, memory: Mapping[str, str], *, user: str, database: str) -> Login:
        """The author's ``user`` and ``database``, else what ``memory`` kept of the login that was used before.

        Of data that were kept before 0.1.0 nothing is remembered: they are in a Postgres, and unset meant postgres.
        """
        return cls(
            memory.get("dialect", "postgres"),
            user or memory.get("user", "postgres"),
            database or memory.get("database", "postgres"),
        )

    def memory(self) -> dict[str, str]:
        """What `remembered` needs."""
        return {"dialect": self.dialect, "user": self.user, "database": self.database}


def find_login(app: App, service: str, *, user: str, database: str) -> Login:
    """The author's ``user`` and ``database``; where they are empty, the service's own variables say them.

    Raises:
        NoAnswer: the container has no client that we know, or does not run.
    """
    told = _run(app, service, _LOGIN, user, database)
    return Login(*told.removesuffix("\n").split("\n", 2))


def ask(app: App, service: str, login: Login, statement: str) -> str:
    """What ``statement`` gives: a line a row, without headings, as the client writes it.

    Raises:
        NoAnswer: with the client's own words.
    """
    return _run(app, service, _ASK[login.dialect], login.user, login.database, statement)


def _run(app: App, service: str, script: str, *words: str) -> str:
    try:
        done = app.exec(service, ["sh", "-c", script, "sql", *words])
    except ProgramHangs as error:
        raise NoAnswer(str(error)) from error
    if done.rc != 0:
        said = (done.stderr or done.stdout).strip()[-500:] or "it printed nothing"
        raise NoAnswer(f"the SQL client of service {service} ended with exit status {done.rc}: {said}")
    return done.stdout
