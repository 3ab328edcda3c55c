"""`slipway`: the command line. Registers the commands, and turns errors into lines and exit codes.

Kept cheap: `slipway --help` imports no HTTP library and draws on Typer alone; each command imports what it needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from slipway.cli import api_keys, dlq, doctor_command, failure, image_command, import_command, items, queues
from slipway.cli.forward import forward
from slipway.cli.login import login, logout
from slipway.cli.options import Output, Session
from slipway.cli.output import Format
from slipway.cli.plan import plan
from slipway.cli.submit import submit
from slipway.cli.up import up
from slipway.errors import SlipwayError

app = typer.Typer(
    name="slipway",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A serverless launcher for machine-learning jobs: queues, builds and runs, with no agent.",
    epilog="Start with `slipway up`, then `slipway queue apply FILE` and `slipway submit`. "
    "Exit codes: 0 ok, 2 usage, 3 refused, 4 the run failed, 5 backend.",
)
app.command()(up)
app.add_typer(queues.app, name="queue")
app.command("import")(import_command.import_)
app.command()(submit)
app.command()(plan)
app.command()(items.ps)
app.command("show")(items.show_item)
app.command()(items.explain)
app.command()(items.logs)
app.command()(items.cancel)
app.command()(items.retry)
app.command()(items.priority)
app.add_typer(image_command.app, name="image")
app.command()(doctor_command.doctor)
app.add_typer(dlq.app, name="dlq")
app.add_typer(api_keys.app, name="key")
app.command()(forward)
app.command()(login)
app.command()(logout)


@app.command()
def version(output: Output = Format.TABLE) -> None:
    """Print Slipway's version, and Python's.

    Example: slipway version -o json
    """
    from importlib.metadata import version as installed
    from platform import python_version

    from slipway.cli.output import dump

    known = {"slipway": installed("slipway"), "python": python_version()}
    if output is Format.TABLE:
        print(f"slipway {known['slipway']} (Python {known['python']})")
    else:
        print(dump(known, output))


def run() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # A run's name in letters that the terminal's encoding lacks is no reason to fail.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has gone; Python would complain of it once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code. With SLIPWAY_DEBUG=1 an error keeps its traceback."""
    session = Session()
    try:
        app(list(arguments), prog_name="slipway", obj=session)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BrokenPipeError:
        return 0
    except Exception as error:
        if os.environ.get("SLIPWAY_DEBUG"):
            raise
        known = error if isinstance(error, SlipwayError) else failure.unforeseen(error)
        failure.report(known, session.output)
        return failure.exit_code(known)
    return 0
