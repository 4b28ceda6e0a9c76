"""One photo in memory: find dust, hairs and scratches, repair them, and change nothing else.

The flow is `pipeline.py`, read top to bottom: image_io (decode) → detection (detect, mask) → inpainting (regions,
fill, composite) → image_io (encode, verify). This package knows nothing of folders, jobs or daemons.
"""
