"""A document that its owner likes to have at hand."""

from django.db import models


class Part(models.Model):
    # The database knows the default too: version 2.0.0 can still write beside this column.
    favorite = models.BooleanField(default=False, db_default=False)

    class Meta:
        abstract = True

    def before_save(self):
        pass

    def described(self):
        return {"favorite": self.favorite}
