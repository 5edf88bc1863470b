"""What-if studies: named variants of a case, solved as one batch, compared and kept."""

from gridrl.whatif.edits import Edit, apply_edits, parse_edit
from gridrl.whatif.results import StudyResult, Variant, VariantResult
from gridrl.whatif.study import Study, StudySettings

__all__ = [
    "Edit",
    "Study",
    "StudyResult",
    "StudySettings",
    "Variant",
    "VariantResult",
    "apply_edits",
    "parse_edit",
]
