"""Count the words of every document that is already there."""

from django.db import migrations, models


def fill(apps, schema_editor):
    for document in apps.get_model("documents", "Document").objects.iterator():
        document.word_count = len(document.content.split())
        document.save(update_fields=["word_count"])


class Migration(migrations.Migration):
    dependencies = [("documents", "0003_document_favorite")]
    operations = [
        migrations.AddField("document", "word_count", models.PositiveIntegerField(default=0)),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
