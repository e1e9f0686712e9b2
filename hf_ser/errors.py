"""The base of all errors that the user can fix: recipes print them as one line instead of a traceback."""


class SerError(ValueError):
    """Invalid input; the message says what was found, what was expected and what to do."""


class ConfigError(SerError):
    """A recipe's YAML file or command line has an unknown field or an invalid value."""
