TITLE="GLUE, held-out training rows: the learning rate of MiniLM as it was"
PROTOCOL=glue_minilm_held_out
PAIRS=(rte mrpc cola sts-b)
SEEDS=(1)
BASELINE=base-lr-5e-5
for rate in ${RATES:-5e-5 1e-4 2e-4}; do # if 2e-4 is the best, RATES=3e-4 as well
    row "base-lr-$rate" --position-encoder learned --position-blocks input
done
