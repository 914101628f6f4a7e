import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='disabled_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='disabled'),
        ),
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('failure', 'failed login'), ('login', 'login'), ('mail', 'mail')], max_length=7)),
                ('name', models.CharField(max_length=254, verbose_name='login name')),
                ('address', models.GenericIPAddressField(null=True, verbose_name='address')),
                ('at', models.DateTimeField(db_index=True, default=django.utils.timezone.now, verbose_name='time')),
            ],
            options={
                'verbose_name': 'attempt',
                'verbose_name_plural': 'attempts',
                'indexes': [models.Index(fields=['name', 'at'], name='attempt_name_at')],
            },
        ),
    ]
