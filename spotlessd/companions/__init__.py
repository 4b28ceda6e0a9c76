"""Files that belong to a scan: infrared sidecars, metadata, RAW+JPEG pairs.

names.py           told by their names alone; pairing.py finds whose they are
company.py         who waits for whom, what goes with a result, what comes after it
companion_copy.py  copied beside the result, byte for byte
"""
