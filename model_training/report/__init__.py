"""The report of a model: one HTML page, its pictures, and every number on it as JSON."""
