"""The command `lig keys`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.keys.scopes import SCOPES, Scope

if TYPE_CHECKING:
    from service.keys.keyring import KeyEntry

app = typer.Typer(help="Keys for the HTTP API.", no_args_is_help=True)
SCOPES_HELP = "; ".join(f"{scope}: {meaning}" for scope, meaning in SCOPES.items())


@app.callback()
def keys() -> None:
    """Keys for the HTTP API."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Who will call; owns the jobs sent with the key.")],
    *,
    scopes: Annotated[str, typer.Option(help=f"Comma-separated: {SCOPES_HELP}.")] = "explain,read",
    rate: Annotated[float | None, typer.Option(help="Estimated seconds of compute a minute.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Jobs queued or running at once.")] = None,
    file: Annotated[Path | None, typer.Option(help="Keys file to add the entry to; made if absent.")] = None,
) -> None:
    """Make a key. It is printed once, on standard output; only its salted hash is kept."""
    from pydantic import ValidationError

    from service.keys.keyring import KeysError, new_key

    wanted: list[Scope] = [scope.strip() for scope in scopes.split(",")]  # type: ignore[misc] # checked by KeyEntry
    try:
        key, entry = new_key(name, wanted, rate, concurrency)
        if file is not None:
            _add(entry, file)
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise _stop(faults) from None
    except KeysError as error:
        raise _stop(str(error)) from None
    typer.echo(key)
    if file is None:
        typer.echo("The entry for the list in LIG_KEYS_FILE (or LIG_KEYS):", err=True)
        typer.echo(entry.model_dump_json(), err=True)
    else:
        typer.echo(f"Added to {file}; the key itself is shown only here.", err=True)


def _add(entry: KeyEntry, file: Path) -> None:
    from service.keys.keyring import Keyring

    entries = json.loads(file.read_text()) if file.exists() else []
    entries.append(entry.model_dump(mode="json"))
    text = json.dumps(entries, indent=2) + "\n"
    Keyring.parse(text, str(file))
    # Replaced in one step: a running service reads the old file or the new one.
    fresh = file.with_name(f"{file.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(file)


def _stop(message: str) -> typer.Exit:
    typer.echo(f"lig keys: {message}", err=True)
    return typer.Exit(2)
