"""Tests, and what they share. Not installed."""
