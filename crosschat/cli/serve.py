"""`crosschat serve`: the MCP server of one session. Started by the MCP client, not by people."""

from __future__ import annotations

import os

import click

from crosschat.cli.options import configuration


@click.command(hidden=True)
@click.option("--template", is_flag=True, help="Start a template, so that later sessions start fast.")
@click.pass_context
def serve(ctx: click.Context, template: bool) -> None:
    """Run the MCP server of one session, on stdin and stdout.

    \b
    The MCP client starts it; its configuration names the command `crosschat` with the argument `serve`.
    """
    if ctx.obj is not None:
        os.environ["CROSSCHAT_HOME"] = str(configuration(ctx.obj).home.root)
    from crosschat.bridge.main import main

    ctx.exit(main(template=template))
