"""Numbered migrations, never edited once released; each layer makes only what is absent."""
