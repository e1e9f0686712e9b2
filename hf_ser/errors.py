"""The base of every error that a person can mend: recipes print it as one line instead of a traceback."""


class SerError(ValueError):
    """Input that cannot be used; the message says what was got, what was expected and what to do."""
