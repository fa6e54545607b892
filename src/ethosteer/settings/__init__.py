"""The study file: every setting with its type, its default and one line of explanation.

A study is one TOML file, validated against these classes before any model is loaded. The tables of
the algorithms ([steer.ppo], ...) are defined in the algorithms' own files, as subclasses of
AlgorithmSettings; ``catalog.study_settings`` adds them to ``StudySettings`` and ``SteerSettings``.
"""

from __future__ import annotations

from ethosteer.settings.base import BaseSettings, ModelShape, Settings
from ethosteer.settings.data import (
    FILE_SETTINGS,
    LABELS,
    TEMPLATE_DATE,
    ArmSettings,
    DataSettings,
    TemplateName,
)
from ethosteer.settings.evaluation import (
    FILE_KEYS,
    BenchmarkSettings,
    CompareSettings,
    EvaluateSettings,
    FileFormat,
    TrackSettings,
)
from ethosteer.settings.rollout import RolloutSettings
from ethosteer.settings.steer import AlgorithmSettings, SteerSettings
from ethosteer.settings.study import StudySettings
from ethosteer.settings.training import (
    FinetuneSettings,
    LoraSettings,
    OptimiserSettings,
    RewardSettings,
)

__all__ = [
    "FILE_KEYS",
    "FILE_SETTINGS",
    "LABELS",
    "TEMPLATE_DATE",
    "AlgorithmSettings",
    "ArmSettings",
    "BaseSettings",
    "BenchmarkSettings",
    "CompareSettings",
    "DataSettings",
    "EvaluateSettings",
    "FileFormat",
    "FinetuneSettings",
    "LoraSettings",
    "ModelShape",
    "OptimiserSettings",
    "RewardSettings",
    "RolloutSettings",
    "Settings",
    "SteerSettings",
    "StudySettings",
    "TemplateName",
    "TrackSettings",
]
