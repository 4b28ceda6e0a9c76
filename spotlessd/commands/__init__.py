"""What the commands of `spotlessd` do, and how they word it; cli.py calls them.

arguments.py         the words of the command line
station_commands.py  commands that read the ledger or write a request into it; targets.py: which job is meant
setup_commands.py    commands about the installation; install_service.py, dry_scan.py and demo.py do the longer ones
contact_sheet.py     a folder of pages for a client; feedback.py: what edits have taught
review_page.py       where the review page is, or the page itself until Ctrl-C
status_text.py, job_text.py, live_status.py   how it looks; wording.py has what they share
"""
