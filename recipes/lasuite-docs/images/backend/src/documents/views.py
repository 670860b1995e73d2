"""The documents API that the page, the tests and y-provider speak."""

import json
from functools import wraps

from django.conf import settings
from django.db.models import Q
from django.http import JsonResponse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_http_methods

from documents.models import PARTS, Access, Document, User
from standin import sso


def signed_in(view):
    """Answer 401 to whoever is not signed in."""

    @wraps(view)
    def guarded(request, *args, **kwargs):
        if not request.user.is_authenticated:
            return JsonResponse({"detail": "Sign in first."}, status=401)
        return view(request, *args, **kwargs)

    return guarded


def _body(request):
    try:
        body = json.loads(request.body or b"{}")
    except ValueError:
        body = None
    return body if isinstance(body, dict) else None


def _refused(status, detail):
    return JsonResponse({"detail": detail}, status=status)


def _described(document, role):
    facts = {
        "id": str(document.pk),
        "title": document.title,
        "content": document.content,
        "owner": document.owner.email,
        "role": role,
        "abilities": {"read": True, "update": role in {"owner", "editor"}},
        "created_at": document.created_at.isoformat(),
    }
    for part in PARTS:
        facts |= part.described(document)
    return facts


@require_http_methods(["GET"])
def config(request):
    """What anybody may know."""
    return JsonResponse(
        {"application": "ccci-docs-standin", "version": settings.APP_VERSION, "sso": bool(sso.urlpatterns)}
    )


@require_http_methods(["GET"])
@ensure_csrf_cookie
@signed_in
def me(request):
    """The person who asks."""
    user = request.user
    return JsonResponse({"id": str(user.pk), "sub": user.sub, "email": user.email, "full_name": user.name})


@require_http_methods(["GET", "POST"])
@signed_in
def documents(request):
    """List what the person may see, or create a document."""
    if request.method == "POST":
        return _create(request)
    seen = Document.objects.filter(Q(owner=request.user) | Q(accesses__user=request.user)).distinct()
    found = [_described(each, each.role_of(request.user)) for each in seen.select_related("owner")]
    return JsonResponse({"count": len(found), "results": found})


def _create(request):
    body = _body(request)
    if body is None or not body.get("title"):
        return _refused(400, "A document needs a title.")
    document = Document.objects.create(
        owner=request.user, title=str(body["title"])[:255], content=str(body.get("content", ""))
    )
    return JsonResponse(_described(document, "owner"), status=201)


@require_http_methods(["GET", "PATCH", "DELETE"])
@signed_in
def document(request, document_id):
    """One document; to a stranger it does not exist."""
    found = Document.objects.select_related("owner").filter(pk=document_id).first()
    role = found.role_of(request.user) if found else ""
    if not role:
        return _refused(404, "No such document.")
    if request.method == "PATCH":
        return _change(request, found, role)
    if request.method == "DELETE":
        return _delete(found, role)
    return JsonResponse(_described(found, role))


def _change(request, found, role):
    body = _body(request)
    if role == "reader":
        return _refused(403, "You may only read it.")
    if body is None:
        return _refused(400, "That is no JSON object.")
    for name in ("title", "content"):
        if name in body:
            setattr(found, name, str(body[name]))
    if "content" in body:
        found.collaboration_state = None
    found.save()
    return JsonResponse(_described(found, role))


def _delete(found, role):
    if role != "owner":
        return _refused(403, "Only its owner may delete it.")
    found.delete()
    return JsonResponse({}, status=204)


@require_http_methods(["GET", "POST"])
@signed_in
def accesses(request, document_id):
    """Who else may see a document of mine; let another person see it."""
    found = Document.objects.filter(pk=document_id, owner=request.user).first()
    if found is None:
        return _refused(404, "No such document of yours.")
    if request.method == "POST":
        return _share(request, found)
    listed = found.accesses.select_related("user")
    return JsonResponse({"results": [{"email": each.user.email, "role": each.role} for each in listed]})


def _share(request, found):
    body = _body(request) or {}
    person = User.objects.filter(email__iexact=str(body.get("email", ""))).first()
    if person is None:
        return _refused(404, "Nobody with that address has signed in yet.")
    if body.get("role") not in Access.ROLES:
        return _refused(400, f"The role must be one of {', '.join(Access.ROLES)}.")
    access, _ = Access.objects.update_or_create(document=found, user=person, defaults={"role": body["role"]})
    return JsonResponse({"email": person.email, "role": access.role}, status=201)
