"""Verbs whose files are imported once somebody asks for them: a master keeps in memory what `start` has imported."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click


class Commands(UserDict[str, Any]):
    """Of a click.Group, in the order in which they were added."""

    def later(self, name: str, place: str, option: Callable[[Any], Any] = lambda command: command) -> None:
        """`place`: module and attribute. `option`: a decorator that the command gets, too."""

        def make() -> click.Command:
            module, _, attribute = place.partition(":")
            command: click.Command = option(getattr(import_module(module), attribute))
            return command

        self.data[name] = make

    def __getitem__(self, name: str) -> click.Command:
        command = super().__getitem__(name)
        if not isinstance(command, click.Command):
            command = self.data[name] = command()
        made: click.Command = command
        return made
