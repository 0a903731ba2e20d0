"""Templates: text with gaps, in the folder `templates` of the package that fills them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(package: str, html: bool = False) -> "Environment":
    """Finds a package's templates; in HTML every value is escaped. A name that has no value is an error."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=html,
    )
