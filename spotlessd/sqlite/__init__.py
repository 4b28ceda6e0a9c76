"""The station's SQLite file, under ledger.py.

database.py  opening, schema, migrations, transactions that are on disk when they return
rows.py      rows and the values they stand for
reading.py   questions to the ledger; figures.py: what status and metrics count
board.py     requests of the commands, and what the daemon says of itself
"""
