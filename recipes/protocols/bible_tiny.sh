# The Bible, English to Spanish, Transformer-tiny; the corpus of long sentences.
source "$RECIPES/protocols/multi30k_tiny.sh"
corpus() {
    DATA=$RUNS/data/bible.$PAIR
    PREPARE=(bash data-prep/bible.sh --out "$DATA")
}
DURATION=(--max-update 20000 --patience 10)
GENERATE=(--beam 4 --lenpen 0.6 --max-len-b 300 --max-tokens 4096)
REMOVE_BPE=sentencepiece
TESTS=(test)
SCORE=(--bins 30,40,50)
