"""An app that tells its secrets wherever it can, what sees them, and where they are looked for."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

from page import COMPOSE

__all__ = ["GIVEN", "HEALTHY", "UNHEALTHY", "planted", "spy", "talkative", "told"]

GIVEN = 'Gv-"q7 %x/+9zLm2k&<5>'
SCRIPT = """
p=$$(cat /run/secrets/db_password)
echo "connecting to postgres://app:$$p@db/app"
echo "Authorization: Basic $$(printf 'app:%s' "$$p" | base64 -w0)"
cat /run/secrets/token >&2
printf 'server { listen 80; location /broken { default_type text/plain; return 500 "no login as app:%s"; }
  location / { root /usr/share/nginx/html; } }' "$$p" > /etc/nginx/conf.d/default.conf
exec nginx -g "daemon off;"
"""
HEALTHY = '{test: [CMD, bash, -c, "exec 3<>/dev/tcp/127.0.0.1/80"], interval: 30s, retries: 3}'
UNHEALTHY = (
    '{test: [CMD, bash, -c, "echo no login with $$(cat /run/secrets/db_password); exit 1"], interval: 1s, retries: 2}'
)
# Secrets are seen where Docker is given them, and by the author's test: not by means of the redactor.
SPY = """
import json
from pathlib import Path

import pytest
from docker.api.secret import SecretApiMixin

_create = SecretApiMixin.create_secret

def note(value):
    with Path({seen!r}).open("a") as sink:
        sink.write(json.dumps(value) + "\\n")

def create_secret(self, name, data, **more):
    note(data.decode())
    return _create(self, name, data, **more)

@pytest.fixture
def seen():
    return note

SecretApiMixin.create_secret = create_secret
"""


def talkative(*secrets: str) -> str:
    """The page recipe's compose file with an app that tells ``db_password`` and ``token``, and may have more."""
    return COMPOSE.replace(
        "    networks: [proxy]\n",
        f"    networks: [proxy]\n    secrets: [{', '.join(secrets)}]\n"
        f"    command: {json.dumps(['bash', '-c', SCRIPT])}\n",
    ).replace(
        "volumes: {content: }\n",
        "volumes: {content: }\nsecrets:\n"
        + "".join(f'  {name}: {{external: true, name: "${{STACK_NAME}}_{name}_v1"}}\n' for name in secrets),
    )


def spy(seen: Path) -> str:
    """A conftest.py that writes each secret that Docker is given into the file ``seen``, a JSON text per line."""
    return SPY.format(seen=str(seen))


def planted(seen: Path) -> list[str]:
    """The secrets in that file."""
    return [json.loads(line) for line in seen.read_text("utf-8").splitlines()]


def told(text: str, secrets: list[str]) -> list[str]:
    """Which forms of ``secrets`` are in ``text``."""
    forms = []
    for secret in secrets:
        forms += [secret, quote(secret, safe=""), json.dumps(secret)[1:-1]]
        forms += [base64.b64encode(b" " * n + secret.encode()).decode()[4:-4] for n in range(3)]
    return sorted({form for form in forms if form in text})
