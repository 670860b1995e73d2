"""The WSGI application."""

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

# Imported before the workers are forked, so that the first request does not pay for it.
import redis  # noqa: E402,F401

import standin.urls  # noqa: E402,F401
