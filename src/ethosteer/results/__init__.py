"""The results of a study, as frozen records for ``results.json``: one module per subject."""
