"""Model code, flat and self-contained: this folder is uploaded to the Hub with every model that needs it.

Importing a module imports only the modules that it needs; torch only if it needs it.
"""
