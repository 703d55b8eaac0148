"""Labels and concepts learnt from a person's marks, from words and from classifiers."""
