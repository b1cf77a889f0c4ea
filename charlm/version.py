"""The version of charlm."""

__version__ = "0.1.0"
