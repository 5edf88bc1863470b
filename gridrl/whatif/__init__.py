"""What-if studies: named variants of a case, solved as one batch, compared and kept."""

from gridrl.whatif.edits import Edit, apply_edits, parse_edit

__all__ = ["Edit", "apply_edits", "parse_edit"]
