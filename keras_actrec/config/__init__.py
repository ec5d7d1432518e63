"""The run configuration: one YAML file, typed and strict, with `key=value` overrides.

Every mistake becomes one readable `UserError`. An unknown key names the nearest valid one, a wrong value what is
allowed. The section `model` is open, because its keys are the fields of the chosen architecture's own config; they
are checked when the registry builds it. This module imports no Keras, so that the swarm's server can use it.
"""

from keras_actrec.config.cluster import ClusterConfig
from keras_actrec.config.data import (
    OWN_OF_A_DATA_SET,
    AugmentationConfig,
    DataConfig,
    LabelsConfig,
    StickActions,
    TailorConfig,
)
from keras_actrec.config.model import ModelConfig
from keras_actrec.config.reading import dump_yaml, json_schema, load_config, parse_config, save_config
from keras_actrec.config.run import EvaluationConfig, LoggingConfig, RunConfig, WandbConfig
from keras_actrec.config.section import Count, NonNegative, Positive, Section, Share
from keras_actrec.config.semi_supervised import AuxiliaryConfig, SemiSupervisedConfig
from keras_actrec.config.training import MetricConfig, OptimizerConfig, RepositoryConfig, ScheduleConfig, TrainingConfig

__all__ = [
    "OWN_OF_A_DATA_SET",
    "AugmentationConfig",
    "AuxiliaryConfig",
    "ClusterConfig",
    "Count",
    "DataConfig",
    "EvaluationConfig",
    "LabelsConfig",
    "LoggingConfig",
    "MetricConfig",
    "ModelConfig",
    "NonNegative",
    "OptimizerConfig",
    "Positive",
    "RepositoryConfig",
    "RunConfig",
    "ScheduleConfig",
    "Section",
    "SemiSupervisedConfig",
    "Share",
    "StickActions",
    "TailorConfig",
    "TrainingConfig",
    "WandbConfig",
    "dump_yaml",
    "json_schema",
    "load_config",
    "parse_config",
    "save_config",
]
