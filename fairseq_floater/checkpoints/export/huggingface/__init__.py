"""A trained model as a folder that Hugging Face's transformers loads.

``model.py`` makes the folder's model of a ``floater_transformer``, ``tables.py`` what it needs of
position encoders, and ``remote`` has the files that go with it.
"""
