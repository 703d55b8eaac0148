"""`curator export`: a selection in the form that another program reads, the same bytes every time."""

from curator.selection.export import forms as _forms
from curator.selection.export import trainers as _trainers
from curator.selection.export.items import LINKS, ExportPlan, Form, Item, forms
from curator.selection.export.write import ExportOptions, export

__all__ = ["LINKS", "ExportOptions", "ExportPlan", "Form", "Item", "_forms", "_trainers", "export", "forms"]
