"""Bytes -> pixels, safely; pixels -> model input; the image store.

Training and serving both come through here, so that what a model was trained on and what it is
asked about cannot drift apart.
"""
