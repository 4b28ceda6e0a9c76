"""Under publish.py: names, durability, and the receipts that were published.

given_masks.py     a mask that a person gives, checked and kept
handed_in.py       files laid into a folder by a person, and moving them aside
feedback_files.py  what edits teach: parts, names, export
result_files.py    what the files of one result are called
exchange.py        two versions of a scan that change their names
durable.py         fsync of files, names and times
found_receipts.py  what an output folder's receipts say was done
"""
