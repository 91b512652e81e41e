TITLE="Documents: runs of up to 4 verses of the Bible, English to Spanish, tiny"
PROTOCOL=bible_tiny_documents
PAIRS=(en-es)
SEEDS=(1)
source "$RECIPES/rows/documents.sh"
