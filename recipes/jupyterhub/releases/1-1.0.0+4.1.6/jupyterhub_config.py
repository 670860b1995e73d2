"""People sign in with OpenID Connect; their servers are processes in this container, their files on a volume."""

import os
import socket
import time
from pathlib import Path


def secret(name):
    return Path("/run/secrets", name).read_text(encoding="utf-8").strip()


def wait_for(host, port):
    """The hub gives up at once when its database is not there yet, and both start together."""
    for _ in range(60):
        try:
            socket.create_connection((host, port), timeout=2).close()
        except OSError:
            time.sleep(1)
        else:
            return


wait_for("db", 5432)

c = get_config()  # noqa: F821  JupyterHub defines it

c.JupyterHub.bind_url = "http://:8000"
c.JupyterHub.db_url = f"postgresql://jupyterhub:{secret('db_password')}@db/jupyterhub"
c.JupyterHub.cookie_secret = bytes.fromhex(secret("cookie_secret"))

c.JupyterHub.authenticator_class = "generic-oauth"
c.GenericOAuthenticator.client_id = os.environ["OIDC_CLIENT_ID"]
c.GenericOAuthenticator.client_secret = secret("oidc_secret")
c.GenericOAuthenticator.oauth_callback_url = f"https://{os.environ['DOMAIN']}/hub/oauth_callback"
c.GenericOAuthenticator.authorize_url = os.environ["OIDC_AUTHORIZE_URL"]
c.GenericOAuthenticator.token_url = os.environ["OIDC_TOKEN_URL"]
c.GenericOAuthenticator.userdata_url = os.environ["OIDC_USERDATA_URL"]
c.GenericOAuthenticator.scope = ["openid", "email", "profile"]
c.GenericOAuthenticator.username_claim = "preferred_username"
c.GenericOAuthenticator.allow_all = True
c.GenericOAuthenticator.admin_users = {name for name in os.environ["ADMIN_USERS"].split(",") if name}

c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "/srv/people/{username}"
c.Spawner.default_url = "/api/status"
