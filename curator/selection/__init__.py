"""Choosing training data: recipes, selections, sets made of them, previews and exports."""
