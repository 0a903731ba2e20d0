"""Exhibits outside the page: as PNG files, and on the study's own page in optuna-dashboard."""

from collections.abc import Sequence
from pathlib import Path

from search import figures
from search.figures import Exhibit
from storage.store import Store


def write(exhibits: Sequence[Exhibit], directory: Path) -> None:
    """Each exhibit as a PNG of its name; RuntimeError if there is no Chrome to draw them."""
    import kaleido  # type: ignore[import-untyped]
    from kaleido.errors import ChromeNotFoundError  # type: ignore[import-untyped]

    drawn = [(each.name, figures.titled(each)) for each in exhibits]
    specs = [
        {
            "fig": figure,
            "path": directory / f"{name}.png",
            "opts": {"format": "png", "scale": 2, "width": figure.layout.width, "height": figure.layout.height},
        }
        for name, figure in drawn
    ]
    try:
        kaleido.write_fig_from_object_sync(specs, kopts={"mathjax": False})  # which it would fetch
    except ChromeNotFoundError:
        raise RuntimeError("no Chrome or Chromium was found") from None


def show_in_dashboard(store: Store, study: str, exhibits: Sequence[Exhibit]) -> None:
    """Put the exhibits on the study's page in optuna-dashboard, in place of those of an earlier report."""
    import optuna
    from optuna_dashboard import save_plotly_graph_object  # type: ignore[import-untyped]

    from storage.optuna_storage import optuna_storage

    there = optuna.load_study(study_name=study, storage=optuna_storage(store))
    for each in exhibits:
        save_plotly_graph_object(there, figures.titled(each), graph_object_id=f"fewest-{each.name}")
