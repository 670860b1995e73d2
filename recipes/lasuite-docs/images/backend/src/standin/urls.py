"""Every address of the backend."""

from django.urls import include, path

from documents import internal, readiness, views
from standin import sso

api = [
    path("config/", views.config),
    path("users/me/", views.me),
    path("documents/", views.documents),
    path("documents/<uuid:document_id>/", views.document),
    path("documents/<uuid:document_id>/accesses/", views.accesses),
    *sso.urlpatterns,
]
urlpatterns = [
    path("api/v1.0/", include(api)),
    path("internal/documents/<uuid:document_id>/", internal.collaboration_state),
    path("__heartbeat__", readiness.heartbeat),
]
