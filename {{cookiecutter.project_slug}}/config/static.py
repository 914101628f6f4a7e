"""Static files in production."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):
    """WhiteNoise's storage, which also gives modules that are imported the name they have.

    Without it a module runs twice that both a page and another module ask for.
    """

    support_js_module_import_aggregation = True
