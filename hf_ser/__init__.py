"""Speech emotion recognition the Hugging Face way."""

__version__ = "0.1.0"
