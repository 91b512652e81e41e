# Documents: as bible_tiny, but a line is a run of up to 4 verses, with <s/> between them.
source "$RECIPES/protocols/bible_tiny.sh"
corpus() {
    DATA=$RUNS/data/bible.$PAIR.verses4
    PREPARE=(bash data-prep/bible.sh --verses 4 --out "$DATA")
}
GENERATE=(--beam 4 --lenpen 0.6 --max-len-b 600 --max-tokens 4096)
SCORE=(--bins 80,110,140)
