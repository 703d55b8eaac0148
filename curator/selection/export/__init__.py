"""`curator export`: a selection in the form that another program reads, the same bytes every time."""

from curator.selection.export import forms as _forms
from curator.selection.export.items import LINKS, Form, Item, Job, forms
from curator.selection.export.write import ExportOptions, export

__all__ = ["LINKS", "ExportOptions", "Form", "Item", "Job", "_forms", "export", "forms"]
