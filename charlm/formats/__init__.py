"""Other tools' files of labelled data, read as records. Nothing here knows a model, torch or NumPy."""
