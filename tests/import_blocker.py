"""Programs of tests in which some packages cannot be imported, as if they were not installed."""

# Needs a function `is_hidden` of the name of a package in the program.
BLOCK_IMPORTS = """
class Finder:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *args):
        return None if is_hidden(name.partition(".")[0]) else self.finder.find_spec(name, *args)

sys.meta_path[:] = map(Finder, sys.meta_path)
"""
