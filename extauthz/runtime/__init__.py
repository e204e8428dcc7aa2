"""The composition root: builds the parts of a process from the settings, starts, supervises and drains them.

Other packages receive their parts as arguments.
"""
