"""People, their documents, and who else may see them."""

import uuid

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models

from documents.parts import PARTS


class User(AbstractBaseUser):
    """A person, known by the subject that the OIDC provider gives."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    sub = models.CharField(max_length=255, unique=True)
    email = models.EmailField(null=True, blank=True)
    name = models.CharField(max_length=255, null=True, blank=True)
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "sub"


class Document(*PARTS, models.Model):
    """A document of one person."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="documents")
    title = models.CharField(max_length=255)
    content = models.TextField(blank=True, default="")
    collaboration_state = models.BinaryField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-created_at",)

    def save(self, *args, **kwargs):
        """Let every part of this version have its say first."""
        for part in PARTS:
            part.before_save(self)
        super().save(*args, **kwargs)

    def role_of(self, user):
        """``owner``, ``editor``, ``reader`` or nothing."""
        if self.owner_id == user.pk:
            return "owner"
        return self.accesses.filter(user=user).values_list("role", flat=True).first() or ""


class Access(models.Model):
    """Another person may read or edit a document."""

    ROLES = ("reader", "editor")

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="accesses")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="accesses")
    role = models.CharField(max_length=16, choices=[(role, role) for role in ROLES])

    class Meta:
        constraints = [models.UniqueConstraint(fields=["document", "user"], name="one_access_per_person")]
