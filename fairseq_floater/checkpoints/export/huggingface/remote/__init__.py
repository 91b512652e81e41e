"""Files that go with a model exported to Hugging Face's transformers.

They need torch and transformers, and nothing from this project: whoever loads the model has them
beside its weights.
"""
