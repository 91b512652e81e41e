# GLUE with RoBERTa-base, by fairseq's own configurations (examples/roberta/config/finetuning), which
# are for one GPU, and with the metrics of the benchmark, which those configurations leave out.
source "$RECIPES/protocols/glue_minilm.sh"
SIZE=base
source "$RECIPES/roberta.sh"
SEPARATOR=(--separator-token 2) # a second one, before the second sentence
corpus() {
    DATA=$RUNS/data/glue.$PAIR.$PIECES
    PREPARE=(bash data-prep/glue.sh --task "$PAIR" --model "$MODEL/base" --out "$DATA")
    TESTS=(valid) CLASSES=2 LR=1e-5 BATCH=32 FACTOR=1 METRICS=accuracy REPORT=""
    case $PAIR in
    cola) BATCH=16 UPDATES=5336 WARMUP=320 METRICS=matthews REPORT=--report-mcc ;;
    sst-2) UPDATES=20935 WARMUP=1256 ;;
    mrpc) BATCH=16 UPDATES=2296 WARMUP=137 METRICS=accuracy,f1 REPORT=--report-acc-and-f1 ;;
    qqp) UPDATES=113272 WARMUP=28318 METRICS=accuracy,f1 REPORT=--report-acc-and-f1 ;;
    sts-b) BATCH=16 LR=2e-5 UPDATES=3598 WARMUP=214 METRICS=pearson,spearman CLASSES=1 FACTOR=5
        REPORT="--regression-target --report-pearson-and-spearman" ;;
    mnli) UPDATES=123873 WARMUP=7432 CLASSES=3 TESTS=(valid valid1) ;;
    qnli) UPDATES=33112 WARMUP=1986 ;;
    rte) BATCH=16 LR=2e-5 UPDATES=2036 WARMUP=122 ;;
    esac
    DURATION=(--max-update "$UPDATES" --max-epoch 10) # RTE's updates are 13 epochs
}
