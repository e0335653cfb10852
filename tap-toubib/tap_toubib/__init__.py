"""Singer tap for the patients of Toubib, an Electronic Medical Record API."""
