"""Under publish.py: names, durability, and the receipts that were published.

result_files.py    what the files of one result are called
durable.py         fsync of files, names and times
found_receipts.py  what an output folder's receipts say was done
"""
