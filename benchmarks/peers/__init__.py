"""Adapters to other programs; `gridrl bench` imports this folder under a name of its own."""
