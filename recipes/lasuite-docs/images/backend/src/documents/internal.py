"""What y-provider stores and loads. Not reachable through the front door, and guarded by a shared secret."""

import base64
import json

from django.conf import settings
from django.http import JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from documents.models import Document


@csrf_exempt
@require_http_methods(["GET", "PUT"])
def collaboration_state(request, document_id):
    """The state of a document that is edited together, and its text."""
    if not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {settings.Y_API_KEY}"):
        return JsonResponse({"detail": "Not for you."}, status=403)
    found = Document.objects.filter(pk=document_id).first()
    if found is None:
        return JsonResponse({"detail": "No such document."}, status=404)
    if request.method == "PUT":
        body = json.loads(request.body)
        found.collaboration_state = base64.b64decode(body["state"])
        found.content = body["text"]
        found.save()
    state = base64.b64encode(bytes(found.collaboration_state or b"")).decode()
    return JsonResponse({"state": state, "text": found.content})
