"""Exhibits outside the page: as PNG files, and on the study's own page in optuna-dashboard."""

from collections.abc import Sequence
from pathlib import Path

from search.answer.report import figures, report
from search.answer.report.findings import gather
from search.spec.stored_study import StoredStudy
from storage.database import StorageError
from storage.store import Store

WIDTH = 900  # of a picture, in pixels
CARD, CARD_HEIGHT = 560, 450  # of a card in the dashboard, in pixels; the width is the least


def write(exhibits: Sequence[figures.Exhibit], directory: Path) -> None:
    """Each exhibit as a PNG of its name; RuntimeError if there is no Chrome to draw them."""
    import kaleido  # type: ignore[import-untyped]
    from kaleido.errors import ChromeNotFoundError  # type: ignore[import-untyped]

    pictures = []
    for each in exhibits:
        width = max(WIDTH, each.least_width)
        figure = figures.titled(each, width)
        form = {"format": "png", "scale": 2, "width": width, "height": figure.layout.height}
        pictures.append({"fig": figure, "path": directory / f"{each.name}.png", "opts": form})
    try:
        kaleido.write_fig_from_object_sync(pictures, kopts={"mathjax": False})  # which it would fetch
    except ChromeNotFoundError:
        raise RuntimeError("no Chrome or Chromium was found") from None


def show_whole(store: Store, study: StoredStudy) -> None:
    """Put the main exhibits of a study, as it is now, on its page; as `show_in_dashboard`."""
    parts = report.sections(store.read(gather, study))
    show_in_dashboard(store, study.name, [exhibit for part in parts for exhibit in part.exhibits])


def show_in_dashboard(store: Store, study: str, exhibits: Sequence[figures.Exhibit]) -> None:
    """Put the main exhibits on the study's page in optuna-dashboard, in place of those of an earlier report.

    One that is wider than a card stays in the page. StorageError if the store cannot be written.
    """
    import optuna
    from optuna_dashboard import save_plotly_graph_object  # type: ignore[import-untyped]

    from storage.optuna_storage import optuna_storage

    try:
        optuna_study = optuna.load_study(study_name=study, storage=optuna_storage(store))
        for each in exhibits:
            if not each.minor and each.least_width <= CARD:
                card = figures.titled(each, CARD).update_layout(height=CARD_HEIGHT)
                save_plotly_graph_object(optuna_study, card, graph_object_id=f"fewest-{each.name}")
    except optuna.exceptions.StorageInternalError as error:
        raise StorageError(str(error.__cause__ or error).splitlines()[0]) from error
