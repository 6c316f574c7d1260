"""What a user sees when something is wrong: every fault on stderr, a code, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from maquette.errors import Fault, MaquetteError

BUG, WRONG, INTERRUPTED = 1, 2, 2


class ReaderLeft(Exception):
    """A pipe was closed at its other end."""


def guard(run: Callable[[], Any], args: Sequence[str] | None) -> NoReturn:
    """Run a command and exit; with ``--json`` among `args`, faults are a JSON object.

    A command returns None or an exit code of its own.
    """
    as_json = "--json" in (sys.argv[1:] if args is None else args)
    _streams()
    try:
        code = run()
        sys.stdout.flush()  # while what goes wrong can still be said
    except click.exceptions.NoArgsIsHelpError as asked:
        with suppress(BrokenPipeError):
            click.echo(asked.format_message(), err=True)
        code = WRONG
    except (KeyboardInterrupt, click.Abort):
        code = report([Fault("", "interrupted before there was a result")], as_json, INTERRUPTED)
    except (BrokenPipeError, ReaderLeft):
        code = _reader_left()
    except Exception as error:
        if os.environ.get("MAQUETTE_DEBUG"):
            raise
        found = faults(error)
        code = report(found or [_bug(error)], as_json, WRONG if found else BUG)
    _forget()
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def past_click() -> Iterator[None]:
    """A closed pipe as `ReaderLeft`: click and rich would exit with 1, which means a bug here."""
    try:
        yield
    except BrokenPipeError:
        raise ReaderLeft from None
    except SystemExit as left:
        if isinstance(left.__context__, BrokenPipeError):
            left.code = 0  # rich has turned stdout to nowhere itself
        raise


def faults(error: Exception) -> list[Fault]:
    """The faults in an error that a user can cause; [] for any other."""
    if isinstance(error, MaquetteError):
        return list(error.faults)
    if isinstance(error, click.ClickException):
        return [_usage(error)]
    if isinstance(error, OSError) and error.filename is not None:
        return [Fault(str(error.filename), f"cannot be used: {error.strerror}")]
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return [Fault("", "the disk is full")]
    return []


def report(found: Sequence[Fault], as_json: bool, code: int) -> int:
    """Print faults on stderr, if anybody reads it, and return `code`."""
    with suppress(BrokenPipeError):
        _print(found, as_json)
    return code


def _print(found: Sequence[Fault], as_json: bool) -> None:
    if as_json:
        keys = ("where", "what", "expected", "hint")
        errors = [{k: getattr(f, k) for k in keys} for f in found]
        print(json.dumps({"errors": errors}, indent=2, ensure_ascii=False), file=sys.stderr)
        return
    for fault in found:
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(str(fault), err=True)


def warn(*messages: str) -> None:
    """Print warnings on stderr."""
    for message in messages:
        click.secho("warning: ", fg="yellow", nl=False, err=True)
        click.echo(message, err=True)


def _usage(error: click.ClickException) -> Fault:
    where, hint = "", ""
    if isinstance(error, click.NoSuchOption):
        if error.possibilities:
            hint = f"did you mean {' or '.join(error.possibilities)}?"
        return Fault("", f"no such option {error.option_name}", hint=hint)
    what = error.format_message().rstrip(".")
    if isinstance(error, click.BadParameter) and error.param is not None:
        where = "/".join(error.param.opts) if error.param.opts else ""
        if isinstance(error.param, click.Argument):
            where = error.param.human_readable_name
        what = error.message.rstrip(".") or what
    context = getattr(error, "ctx", None)
    if context is not None and context.command_path:
        hint = f"see {context.command_path} --help"
    if isinstance(error, click.MissingParameter):
        what = "is missing" if where else what
    return Fault(where, what, hint=hint)


def _bug(error: Exception) -> Fault:
    message = f"{type(error).__name__}: {error}"
    hint = "this is a bug in maquette: run again with MAQUETTE_DEBUG=1 for the traceback"
    return Fault("", message, hint=hint)


def _streams() -> None:
    """Somewhere to write to for a process that has no stdout or stderr, as after ``>&-``."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(_nowhere(), "w", encoding="utf-8"))


def _reader_left() -> int:
    """Whoever read our results has left, as in ``maquette show engines | head``: no fault.

    Where only messages had nowhere to go, the result has not come out.
    """
    if not hasattr(select, "poll"):
        return 0
    results = select.poll()
    results.register(sys.stdout.fileno(), 0)  # that it is closed is told unasked
    return 0 if results.poll(0) else WRONG


def _forget() -> None:
    """What could not be written is not tried again when the process ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(_nowhere(), stream.fileno())


def _nowhere() -> int:
    return os.open(os.devnull, os.O_WRONLY)
