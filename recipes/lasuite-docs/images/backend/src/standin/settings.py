"""Settings, all from the environment and from secrets."""

import os
from pathlib import Path


def secret(name):
    """The secret of that name: a file, whose path may be given by ``<NAME>_FILE``."""
    path = os.environ.get(f"{name.upper()}_FILE", f"/run/secrets/{name}")
    return Path(path).read_text(encoding="utf-8").strip()


env = os.environ.get

APP_VERSION = env("APP_VERSION", "unknown")
DOMAIN = env("DOMAIN", "localhost")
DEBUG = False
SECRET_KEY = secret("django_sk")
Y_API_KEY = secret("y_api_key")
ALLOWED_HOSTS = [DOMAIN, "backend", "localhost", "127.0.0.1"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "lasuite.malware_detection",
    "documents",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "standin.urls"
WSGI_APPLICATION = "standin.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": env("DB_HOST", "db"),
        "PORT": env("DB_PORT", "5432"),
        "NAME": env("DB_NAME", "docs"),
        "USER": env("DB_USER", "docs"),
        "PASSWORD": secret("db_password"),
        "CONN_MAX_AGE": 60,
        # A restored database has closed every connection; the next request opens a new one.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 3},
    }
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": env("REDIS_URL", "redis://redis:6379/0"),
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
SESSION_COOKIE_NAME = "docs_sessionid"
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

AUTH_USER_MODEL = "documents.User"
AUTHENTICATION_BACKENDS = ["lasuite.oidc_login.backends.OIDCAuthenticationBackend"]
OIDC_AUTHENTICATE_CLASS = "lasuite.oidc_login.views.OIDCAuthenticationRequestView"
OIDC_CALLBACK_CLASS = "lasuite.oidc_login.views.OIDCAuthenticationCallbackView"
OIDC_OP_JWKS_ENDPOINT = env("OIDC_OP_JWKS_ENDPOINT")
OIDC_OP_AUTHORIZATION_ENDPOINT = env("OIDC_OP_AUTHORIZATION_ENDPOINT")
OIDC_OP_TOKEN_ENDPOINT = env("OIDC_OP_TOKEN_ENDPOINT")
OIDC_OP_USER_ENDPOINT = env("OIDC_OP_USER_ENDPOINT")
OIDC_OP_LOGOUT_ENDPOINT = env("OIDC_OP_LOGOUT_ENDPOINT")
OIDC_RP_CLIENT_ID = env("OIDC_RP_CLIENT_ID")
OIDC_RP_CLIENT_SECRET = secret("oidc_rpcs")
OIDC_RP_SIGN_ALGO = env("OIDC_RP_SIGN_ALGO", "RS256")
OIDC_RP_SCOPES = env("OIDC_RP_SCOPES", "openid email")
OIDC_USE_PKCE = True
OIDC_STORE_ID_TOKEN = True
OIDC_TIMEOUT = 10
OIDC_REDIRECT_ALLOWED_HOSTS = [host for host in env("OIDC_REDIRECT_ALLOWED_HOSTS", "").split(",") if host]
OIDC_USERINFO_FULLNAME_FIELDS = ["given_name", "family_name"]
OIDC_FALLBACK_TO_EMAIL_FOR_IDENTIFICATION = False
LOGIN_REDIRECT_URL = env("LOGIN_REDIRECT_URL", f"https://{DOMAIN}/")
LOGIN_REDIRECT_URL_FAILURE = env("LOGIN_REDIRECT_URL_FAILURE", f"https://{DOMAIN}/")
LOGOUT_REDIRECT_URL = env("LOGOUT_REDIRECT_URL", f"https://{DOMAIN}/")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {"django.request": {"level": "CRITICAL"}},
}
