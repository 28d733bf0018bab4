"""Stores runs on disk and reads them back."""
