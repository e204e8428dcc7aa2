"""The configuration of a process: what operators set, checked as a whole before anything starts."""

from extauthz.settings.spelling import misspelt
from extauthz.settings.values import (
    FilesSource,
    GrpcServer,
    LogFormat,
    LogLevel,
    OverflowAction,
    PostgresSource,
    SslMode,
    StaleAction,
    UnusableValueError,
)
from extauthz.settings.variables import Settings, Variable, variables

__all__ = [
    "FilesSource",
    "GrpcServer",
    "LogFormat",
    "LogLevel",
    "OverflowAction",
    "PostgresSource",
    "Settings",
    "SslMode",
    "StaleAction",
    "UnusableValueError",
    "Variable",
    "misspelt",
    "variables",
]
