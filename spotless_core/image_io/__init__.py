"""The only code that knows file formats: open, read rows, patch, verify."""
