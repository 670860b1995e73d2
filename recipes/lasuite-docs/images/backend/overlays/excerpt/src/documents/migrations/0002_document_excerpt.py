"""Give every document that is already there its excerpt."""

from django.db import migrations, models

from documents.parts.excerpt import LENGTH, excerpt_of


def fill(apps, schema_editor):
    for document in apps.get_model("documents", "Document").objects.iterator():
        document.excerpt = excerpt_of(document.content)
        document.save(update_fields=["excerpt"])


class Migration(migrations.Migration):
    dependencies = [("documents", "0001_initial")]
    operations = [
        migrations.AddField("document", "excerpt", models.CharField(max_length=LENGTH, blank=True, default="")),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
