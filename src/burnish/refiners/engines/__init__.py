"""Prompts in, completions out: one file for each library or server that runs a language model."""
