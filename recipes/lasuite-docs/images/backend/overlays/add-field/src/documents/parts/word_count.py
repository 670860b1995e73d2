"""How long a document is."""

from django.db import models


class Part(models.Model):
    word_count = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True

    def before_save(self):
        self.word_count = len(self.content.split())

    def described(self):
        return {"word_count": self.word_count}
