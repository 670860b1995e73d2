"""Where people sign in: django-lasuite's OIDC login."""

from lasuite.oidc_login.urls import urlpatterns

__all__ = ["urlpatterns"]
