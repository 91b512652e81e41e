TITLE="GLUE, held-out training rows: the learning rate of MiniLM as it was"
PROTOCOL=glue_minilm_held_out
PAIRS=(rte mrpc cola sts-b)
SEEDS=(1)
BASELINE=base-lr-5e-5
for rate in 5e-5 1e-4 2e-4 3e-4; do # the last if 2e-4 is the best
    row "base-lr-$rate" --position-encoder learned --position-blocks input
done
