"""The configuration of a process, read from environment variables and validated before the process starts."""

from extauthz.settings.contradictions import native_installed
from extauthz.settings.database_hosts import DatabaseHost
from extauthz.settings.decision_log_values import Mask
from extauthz.settings.loading import load_settings
from extauthz.settings.otel_values import OtlpCompression, OtlpProtocol, Sampler, TracesExporter
from extauthz.settings.policy_sources import HttpSource, public_key_text
from extauthz.settings.secret_files import SecretFileError, current_secret
from extauthz.settings.spelling import misspelt
from extauthz.settings.values import (
    CorsPreflight,
    FilesSource,
    GrpcServer,
    InvalidValueError,
    LogFormat,
    LogLevel,
    OverflowAction,
    Pooler,
    PostgresSource,
    SslMode,
    StaleAction,
)
from extauthz.settings.variable import Variable
from extauthz.settings.variables import Settings, variables

__all__ = [
    "CorsPreflight",
    "DatabaseHost",
    "FilesSource",
    "GrpcServer",
    "HttpSource",
    "InvalidValueError",
    "LogFormat",
    "LogLevel",
    "Mask",
    "OtlpCompression",
    "OtlpProtocol",
    "OverflowAction",
    "Pooler",
    "PostgresSource",
    "Sampler",
    "SecretFileError",
    "Settings",
    "SslMode",
    "StaleAction",
    "TracesExporter",
    "Variable",
    "current_secret",
    "load_settings",
    "misspelt",
    "native_installed",
    "public_key_text",
    "variables",
]
