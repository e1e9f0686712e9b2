"""The code of models, flat and self-contained: this folder goes to the Hub with every model that needs it.

Importing one of its modules imports neither the others nor torch, unless that module needs them.
"""
