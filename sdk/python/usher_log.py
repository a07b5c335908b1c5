"""Lines in the router's log. What is printed goes there, too."""

from __future__ import annotations

from wit_world.imports import logging


def debug(line: str) -> None:
    """For the author."""
    logging.log(logging.Level.DEBUG, "", line)


def info(line: str) -> None:
    """For the operator."""
    logging.log(logging.Level.INFO, "", line)


def warn(line: str) -> None:
    """Something to look at."""
    logging.log(logging.Level.WARN, "", line)


def error(line: str) -> None:
    """Something to mend."""
    logging.log(logging.Level.ERROR, "", line)
