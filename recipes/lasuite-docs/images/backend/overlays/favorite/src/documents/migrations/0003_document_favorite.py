"""A mark for favourite documents."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("documents", "0002_document_excerpt")]
    operations = [
        migrations.AddField("document", "favorite", models.BooleanField(default=False, db_default=False)),
    ]
