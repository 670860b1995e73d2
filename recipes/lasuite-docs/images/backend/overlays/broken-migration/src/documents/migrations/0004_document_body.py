"""Move every text into a new column. This one goes through, and versions before it cannot read what it leaves."""

from django.db import migrations, models


def move(apps, schema_editor):
    for document in apps.get_model("documents", "Document").objects.iterator():
        document.body = {"blocks": document.content.splitlines()}
        document.save(update_fields=["body"])


class Migration(migrations.Migration):
    dependencies = [("documents", "0003_document_favorite")]
    operations = [
        migrations.AddField("document", "body", models.JSONField(default=dict)),
        migrations.RunPython(move),
        migrations.RemoveField("document", "content"),
    ]
