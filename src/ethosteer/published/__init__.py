"""Counts that another study published: read, tested, reported, and compared with a run's results.

A publication that reports only how many items each model answered correctly still bounds the paired
tests and determines power. ``counts`` reads one TOML file of such counts, ``proportions`` holds the
statistics, ``analysis`` applies them, ``document`` is the report of ``ethosteer report NAME``, and
``comparison`` the section of a study's report that opts in by ``[compare] published = "NAME"``.
"""
