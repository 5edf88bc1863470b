"""What-if studies: named variants of a case, solved as one batch, compared and kept.

The names load on first use: a study without a store needs no database, one without a report no
templates.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gridrl.whatif.edits import Edit as Edit
    from gridrl.whatif.edits import apply_edits as apply_edits
    from gridrl.whatif.edits import parse_edit as parse_edit
    from gridrl.whatif.results import StudyResult as StudyResult
    from gridrl.whatif.results import Variant as Variant
    from gridrl.whatif.results import VariantResult as VariantResult
    from gridrl.whatif.store import Store as Store
    from gridrl.whatif.study import Study as Study
    from gridrl.whatif.study import StudySettings as StudySettings

_HOME = {
    "Edit": "edits",
    "Store": "store",
    "Study": "study",
    "StudyResult": "results",
    "StudySettings": "study",
    "Variant": "results",
    "VariantResult": "results",
    "apply_edits": "edits",
    "parse_edit": "edits",
}

__all__ = sorted(_HOME)  # noqa: PLE0605 - one table, not two


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gridrl.whatif' has no attribute {name!r}")
    value = getattr(import_module(f"gridrl.whatif.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
