"""The command that prepares running elsewhere: deploy."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from search.cli import output
from search.serve.deploy import Deployment, Target, rendered, write

app = typer.Typer()


@app.command(
    epilog="Examples: `fewest deploy slurm --workers 64 > fewest.sbatch` · "
    "`fewest deploy kubernetes --gpus 1 --image registry.example.org/fewest:1 --out deploy` · "
    "`fewest deploy systemd --out units` · `fewest deploy compose --workers 8 --out .`"
)
def deploy(
    target: Annotated[Target, Argument(help="What is to run them.")],
    workers: Annotated[int, Option(min=1, max=10_000, help="How many workers.")] = 4,
    gpus: Annotated[int, Option(min=0, max=1, help="GPUs of each worker, which trains on one or none.")] = 0,
    image: Annotated[
        str | None, Option(help="The image's name, for kubernetes and compose.  [default: fewest:VERSION]")
    ] = None,
    out: Annotated[Path | None, Option(metavar="DIR", help="Write the files there, instead of printing them.")] = None,
) -> None:
    """Print ready files that run workers on machines of yours and, but for slurm, the service.

    Each file says how to use it, and what to fill in. slurm: a script for an array job. kubernetes: Postgres, the
    service, and an indexed Job of workers. systemd: units of the service and of workers, for a Postgres of yours.
    compose: all of it on one machine. SIGTERM gives workers 25 s to finish what they train.
    """
    texts = rendered(Deployment(target, workers, gpus, image), out)
    if out:
        write(texts, out)
        for name in texts:
            output.line(str(out / name))
        return
    for name, text in texts.items():
        if len(texts) > 1:
            typer.echo(f"# ==> {name} <==")
        typer.echo(text, nl=False)
