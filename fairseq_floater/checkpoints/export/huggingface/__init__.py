"""Export a trained model as a folder that Hugging Face's transformers loads.

``model.py`` writes the folder of a ``floater_transformer`` and ``roberta.py`` that of a
``floater_roberta``. ``stack.py`` describes a stack of blocks for the model's configuration, and
``tables.py`` exports its position encoders. ``remote`` has the files that go with the model.
"""
