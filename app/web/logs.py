"""Log lines of the service, in which nothing that a client sent can begin a line or move a cursor."""

import logging
from typing import Any

from app.core.printing import shown


class Escaped(logging.Formatter):
    """One line a message, its control characters escaped; the lines of a traceback are indented below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return _indented(super().formatStack(stack_info))


def log_config() -> dict[str, Any]:
    """For `logging.config.dictConfig`: all loggers, uvicorn's among them, write escaped lines to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"escaped": {"()": Escaped, "format": "%(levelname)s: %(message)s"}},
        "handlers": {"default": {"class": "logging.StreamHandler", "formatter": "escaped"}},
        "root": {"handlers": ["default"], "level": "WARNING"},
    }


def _indented(text: str) -> str:
    return "\n".join("  " + shown(line) for line in text.split("\n"))
