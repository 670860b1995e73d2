"""The first line of a document, shown in lists."""

from django.db import models

LENGTH = 80


class Part(models.Model):
    excerpt = models.CharField(max_length=LENGTH, blank=True, default="")

    class Meta:
        abstract = True

    def before_save(self):
        self.excerpt = excerpt_of(self.content)

    def described(self):
        return {"excerpt": self.excerpt}


def excerpt_of(content):
    """The first line that is not empty."""
    lines = (line.strip() for line in content.splitlines())
    return next((line for line in lines if line), "")[:LENGTH]
