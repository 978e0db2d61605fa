"""Programs that put load on a server; they run with the image's Python, in a container of their own.

Each takes its plan as one JSON argument and prints lines of JSON, each with the name of an event.
"""
