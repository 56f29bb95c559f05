"""Network definitions in plain torch, with the key names of the published checkpoints.

Importing one of these modules imports torch; nothing imports them before a network is built.
"""
